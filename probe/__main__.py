"""`python -m probe` is `userns-probe`. Every Python 3 and 2.7 can parse this file, to say which release it needs."""
# ruff: noqa: E402, UP031, UP036

import gc
import os
import sys

if sys.version_info < (3, 11):
    sys.stderr.write("userns-probe: needs Python 3.11 or newer, and this is %d.%d\n" % sys.version_info[:2])
    sys.exit(69)  # EX_UNAVAILABLE

# `-m` puts the current directory first in sys.path, and a script its own folder: nothing may be imported from there,
# unless the current directory is where this package lies. -P and -I put neither.
_root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if __name__ == "__main__" and not sys.flags.safe_path and os.path.realpath(sys.path[0]) != _root:
    del sys.path[0]
if not __package__ and _root not in sys.path:  # run by its path, as `watch` does
    sys.path.insert(0, _root)

import signal


def _end(number, _frame):  # type: ignore[no-untyped-def]
    """End at once: nothing was written yet. Without a handler process 1 of a container would ignore SIGTERM."""
    os._exit(128 + number)


signal.signal(signal.SIGTERM, _end)
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)  # Ctrl-C during the imports below would print a traceback

for _number, _name in enumerate(("stdin", "stdout", "stderr")):
    if getattr(sys, _name) is None:  # whoever started us closed it, and the next file would take its number
        try:
            os.open(os.devnull, os.O_RDWR)
        except OSError:  # a root directory without /dev
            os.memfd_create("null", 0)
        os.set_inheritable(_number, True)
        setattr(sys, _name, open(_number, "w" if _number else "r"))  # noqa: SIM115 - for as long as we live

gc.disable()  # until all is imported, of which nothing is garbage: to look for some takes a tenth of the time
try:
    from probe import archive

    archive.use()
    from probe.cli.start import main
except Exception as _error:  # no memory, no descriptor; the exit code of an uncaught one would be that of a verdict
    if os.environ.get("USERNS_PROBE_DEBUG"):
        raise
    sys.stderr.write("userns-probe: cannot start: %s %s\n" % (type(_error).__name__, _error))
    sys.exit(70)

if __name__ == "__main__":
    main()
