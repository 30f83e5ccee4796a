"""Lines of the log: JSON for machines, words on a terminal; nothing ever waits for a reader."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Mapping

LINE_LIMIT = select.PIPE_BUF
"""Bytes of a line of the log: so many a pipe takes at once when it is ready, though nobody reads it."""

_COLOURS = {"info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}  # green, yellow, red


def log(event: str, level: str = "info", /, **fields: object) -> None:
    """One line on stderr: JSON for machines, words on a terminal; *level* is `info`, `warning` or `error`."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    put_entry({"event": event, **fields, "level": level, "timestamp": moment})


def put_entry(entry: Mapping[str, object]) -> None:
    """Write *entry* with its `event`, `level` and `timestamp` to stderr."""
    put_line(f"{(render_words if os.isatty(2) else render_line)(entry)}\n")


def render_words(entry: Mapping[str, object]) -> str:
    """*entry* as a line for people, in colours unless NO_COLOR is set."""
    fields = dict(entry)
    event, level, moment = (str(fields.pop(name)) for name in ("event", "level", "timestamp"))
    bold, colour, plain = ("", "", "") if os.environ.get("NO_COLOR") else ("\x1b[1m", _COLOURS[level], "\x1b[0m")
    words = " ".join(f"{key}={_json(value)}" for key, value in fields.items())
    return f"{moment} [{colour}{level:8}{plain}] {bold}{event:30}{plain} {words}"


def put_line(line: str) -> None:
    """Write *line* to stderr, or lose it when its reader is gone or takes no more: nothing may ever wait for that."""
    with contextlib.suppress(OSError, ValueError):
        content = line.encode(errors="backslashreplace")
        if len(content) > LINE_LIMIT:
            content = content[: LINE_LIMIT - 1] + b"\n"
        if select.select([], [2], [], 0)[1]:
            os.write(2, content)


def render_line(fields: Mapping[str, object]) -> str:
    """*fields* as JSON that fits into a line, the longest value cut; a value without a type in JSON is its repr()."""
    while len(line := _json(fields)) >= LINE_LIMIT:
        sizes = {name: len(_json(value)) for name, value in fields.items()}
        longest = max(sizes, key=lambda name: sizes[name])
        if sizes[longest] < 100:
            break  # too many of them, and each is short
        value = fields[longest]
        text = value if isinstance(value, str) else _json(value)
        fields = {**fields, longest: f"{text[: len(text) // 2]}..."}
    return line


def _json(value: object) -> str:
    return json.dumps(value, default=repr)
