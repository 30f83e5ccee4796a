"""Lines of the log: JSON for machines, words on a terminal; nothing ever waits for a reader."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Callable, Mapping

LINE_LIMIT = select.PIPE_BUF
"""Bytes of a line of the log: so many a pipe takes at once when it is ready, though nobody reads it."""


def log(event: str, level: str = "info", **fields: object) -> None:
    """One line on stderr: JSON for machines, words on a terminal."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = render_line({"event": event, **fields, "level": level, "timestamp": moment})
    if os.isatty(2):
        bold, plain = ("", "") if os.environ.get("NO_COLOR") else ("\x1b[1m", "\x1b[0m")
        words = " ".join(f"{key}={json.dumps(value)}" for key, value in fields.items())
        line = f"{moment} [{level:8}] {bold}{event:30}{plain} {words}"
    put_line(f"{line}\n")


def put_line(line: str) -> None:
    """Write *line* to stderr, or lose it when its reader is gone or takes no more: nothing may ever wait for that."""
    with contextlib.suppress(OSError, ValueError):
        content = line.encode(errors="backslashreplace")
        if len(content) > LINE_LIMIT:
            content = content[: LINE_LIMIT - 1] + b"\n"
        if select.select([], [2], [], 0)[1]:
            os.write(2, content)


def render_line(fields: Mapping[str, object], default: Callable[[object], object] | None = None) -> str:
    """*fields* as JSON that fits into a line, the longest value cut; *default* is as of json.dumps."""
    while len(line := json.dumps(fields, default=default)) >= LINE_LIMIT:
        sizes = {name: len(json.dumps(value, default=default)) for name, value in fields.items()}
        longest = max(sizes, key=lambda name: sizes[name])
        if sizes[longest] < 100:
            break  # too many of them, and each is short
        value = fields[longest]
        text = value if isinstance(value, str) else json.dumps(value, default=default)
        fields = {**fields, longest: f"{text[: len(text) // 2]}..."}
    return line
