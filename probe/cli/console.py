"""Where the command writes: how wide, in which colours, and what it says while it takes long."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from datetime import timedelta
from typing import NoReturn, TextIO


class NotWritten(Exception):
    """What the command had to say found no place; the text says why."""


def write(text: str) -> None:
    """Write to stdout. A reader that went away keeps the verdict's exit code. *Errors*: NotWritten."""
    from probe.outputs.text import safe

    try:
        sys.stdout.write(safe(text, sys.stdout.encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
    except OSError as error:
        raise NotWritten(error.strerror) from error


def complain(text: str) -> None:
    """Write lines to stderr, or lose them: the exit code is none that a failure to write decides."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Drop what could not be written, or the interpreter tries again at its end, complains, and exits with 120."""
    from probe.host.child import open_null

    os.dup2(open_null(), stream.fileno())


def end(code: int) -> NoReturn:
    """End this process with that exit code once `write` has written everything.

    Taking the interpreter apart first would cost as much CPU as a bare one from start to end.
    """
    os._exit(code)


def width() -> int:
    """Columns to write in: the terminal's, within reason; 100 where there is none."""
    return max(40, min(shutil.get_terminal_size((100, 24)).columns, 200))


def coloured(choice: str) -> bool:
    """Whether to use colours; `auto` means on a terminal, unless NO_COLOR or TERM=dumb is set."""
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return choice == "always"


class Progress:
    """Says on a terminal that a probe takes longer than usual, and wipes it away again."""

    def __init__(self, budget: timedelta) -> None:
        self._budget = budget.total_seconds()
        self._shown = False

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            signal.signal(signal.SIGALRM, self._show)
            signal.setitimer(signal.ITIMER_REAL, 1.5)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self._shown:
            sys.stderr.write("\r\x1b[K")

    def _show(self, _signal: int, _frame: object) -> None:
        self._shown = True
        sys.stderr.write(f"still probing: something on this node is slow (at most {self._budget:g} s)")
        sys.stderr.flush()
