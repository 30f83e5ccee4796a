"""The terminal: width, colours, encoding, progress."""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime, timedelta
from typing import NoReturn, TextIO

USAGE = 64
"""EX_USAGE of sysexits.h(3head)."""
UNFORESEEN = 70
"""EX_SOFTWARE."""


class NotWritten(Exception):
    """Output could not be written; the text says why."""


def write(text: str, *, people: bool = True) -> None:
    """Write to stdout; with *people*, in what their locale can show. *Errors*: NotWritten.

    A reader that closes the pipe early is not an error: the exit code stays that of the verdict.
    """
    from probe.outputs.text import safe

    try:
        sys.stdout.write(safe(text, _encoding() if people else sys.stdout.encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
    except OSError as error:
        raise NotWritten(f"cannot write to stdout: {error.strerror}") from error


def write_file(path: str, content: bytes, mode: int = 0o644) -> None:
    """Put *content* at *path* as a whole or not at all. *Errors*: NotWritten."""
    from probe.watch.atomic import replace_file

    try:
        replace_file(None, path, content, mode)
    except OSError as error:
        raise NotWritten(f"cannot write to {path}: {error.strerror}") from error


def _encoding() -> str | None:
    """The encoding of stdout, or ASCII in the locale C or POSIX, where Python switches to UTF-8 by itself (PEP 540)."""
    asked_for = os.environ.get("PYTHONUTF8") == "1" or "utf8" in sys._xoptions
    return "ascii" if sys.flags.utf8_mode and not asked_for else sys.stdout.encoding


def complain(text: str) -> None:
    """Write lines to stderr, or drop them: a failure to write does not change the exit code."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def complain_of_bug(error: Exception) -> None:
    """Say in one line that *error* should not have come so far; *error* itself with USERNS_PROBE_DEBUG=1."""
    if os.environ.get("USERNS_PROBE_DEBUG"):
        raise error
    complain(f"userns-probe: internal error: {type(error).__name__}: {error}; USERNS_PROBE_DEBUG=1 shows where\n")


def discard(stream: TextIO) -> None:
    """Drop unwritten output; otherwise the interpreter tries again at exit, complains, and exits with 120."""
    from probe.host.in_child import open_null

    os.dup2(open_null(), stream.fileno())


def end(code: int) -> NoReturn:
    """End this process with that exit code once `write` has written everything.

    Taking the interpreter apart first would cost as much CPU as a bare one from start to end.
    """
    os._exit(code)


def width() -> int | None:
    """Columns of the terminal; None where stdout is none: into a pipe or a file goes each line whole."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


def coloured(choice: str) -> bool:
    """True when colours are to be used; `auto` means on a terminal, unless NO_COLOR or TERM=dumb is set."""
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return choice == "always"


class Progress:
    """A line on a terminal while a probe takes longer than 1.5 seconds, wiped away afterwards."""

    def __init__(self, budget: timedelta) -> None:
        self._budget = budget.total_seconds()
        self._shown = False

    def __enter__(self) -> None:
        # The command's end after a signal takes the same timer.
        if sys.stderr.isatty() and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL:
            signal.signal(signal.SIGALRM, self._show)
            signal.setitimer(signal.ITIMER_REAL, 1.5)

    def __exit__(self, *_: object) -> None:
        if signal.getsignal(signal.SIGALRM) == self._show:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if self._shown:
            sys.stderr.write("\r\x1b[K")

    def _show(self, _signal: int, _frame: object) -> None:
        self._shown = True
        sys.stderr.write(f"still probing (at most {self._budget:g} s) ...")
        sys.stderr.flush()


def rfc3339(moment: datetime) -> str:
    """`2026-11-29T10:05:37Z`, of a moment in UTC."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
