"""Logs of `serve`: one line per event on stderr, JSON for machines, colours on a terminal."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import TextIO, cast

import structlog

from probe.watch.log import put_line, render_line


class _Stderr(io.TextIOBase):
    """Stderr that nobody ever waits for: a line that its reader does not take is lost."""

    def write(self, text: str) -> int:
        """Write it, or lose it."""
        put_line(text)
        return len(text)


def configure() -> None:
    """To be called once, before anything is logged."""
    colours = not os.environ.get("NO_COLOR")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True),
            *(
                (structlog.dev.ConsoleRenderer(colors=colours),)
                if sys.stderr.isatty()
                else (structlog.processors.format_exc_info, structlog.processors.JSONRenderer(render_line))
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=True,
    )
