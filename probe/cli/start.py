"""The outermost function of the command: signals, and the exit code of every way it can end.

`report`: 0 ready, 1 not ready, 2 unknown. Every verb: 64 usage, 70 a bug, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from probe.lean_import import msgspec_alone

with msgspec_alone():
    import msgspec  # noqa: F401

from probe.cli.console import UNFORESEEN, NotWritten, complain, complain_of_bug, discard
from probe.cli.plain import read_plain
from probe.cli.report import probe_and_say


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; every way it can end has its exit code."""
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # a shell ignores it for what it starts in the background
        signal.signal(signal.SIGINT, _end)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        request = read_plain(words, os.environ)
        code = probe_and_say(request) if request else _run_click(words)
    except KeyboardInterrupt:
        code = 130
    except NotWritten as error:
        discard(sys.stdout)
        complain(f"userns-probe: {error}\n")
        code = UNFORESEEN
    except Exception as error:  # the outermost: whatever it is, it must not look like a verdict
        complain_of_bug(error)
        discard(sys.stdout)
        code = UNFORESEEN
    sys.exit(code)


def _run_click(words: list[str]) -> int:
    from probe.cli.verbs import run

    return run(words)


def _end(number: int, _frame: object) -> NoReturn:
    """Not by KeyboardInterrupt: once that went through exec(), as dataclasses call it, Python ends by the signal."""
    sys.exit(128 + number)
