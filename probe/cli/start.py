"""The outermost function of the command: signals, and the exit code of every way it can end.

`report`: 0 ready, 1 not ready, 2 unknown. Every verb: 64 usage, 70 a bug, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from probe.lean_import import late_patterns, msgspec_alone

with msgspec_alone():
    import msgspec  # noqa: F401

with late_patterns():
    from probe.cli.console import UNFORESEEN, NotWritten, complain, complain_of_bug, discard
    from probe.cli.plain import read_plain
    from probe.cli.report import probe_and_say

_REPEAT = 0.05  # seconds between two attempts to end


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
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # at exit, `_end_again` would only interrupt what the modules clean up
    sys.exit(code)


def _run_click(words: list[str]) -> int:
    from probe.cli.verbs import run

    gc.enable()
    return run(words)


def _end(number: int, _frame: object) -> NoReturn:
    """Not by KeyboardInterrupt: once that went through exec(), as dataclasses call it, Python ends by the signal.

    Python drops what is raised in `__del__` and in the callback of a weak reference, as each import has one: a timer
    raises it again until it is on its way.
    """
    code = 128 + number
    sys.unraisablehook = partial(_say_dropped, sys.unraisablehook)
    signal.signal(signal.SIGALRM, partial(_end_again, code))
    signal.setitimer(signal.ITIMER_REAL, _REPEAT, _REPEAT)
    sys.exit(code)


def _end_again(code: int, _number: int, _frame: object) -> None:
    """Raise SystemExit unless one is being handled: another would interrupt the cleanup."""
    error = sys.exception()
    while error and not isinstance(error, SystemExit):
        error = error.__context__
    if not error:
        sys.exit(code)


def _say_dropped(say: Callable[[sys.UnraisableHookArgs], object], dropped: sys.UnraisableHookArgs) -> None:
    """Report what Python dropped, except our own SystemExit, which comes again."""
    if dropped.exc_type is not SystemExit:
        say(dropped)
