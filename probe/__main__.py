"""`python -m probe` is `userns-probe`."""

import os
import signal
import sys

if not __package__:  # run by its path, as `watch` does: then nothing else says where the rest is
    _root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if _root not in sys.path:
        sys.path.insert(0, _root)
for _number, _name in enumerate(("stdin", "stdout", "stderr")):
    if getattr(sys, _name) is None:  # whoever started us closed it, and the next file would take its number
        os.open(os.devnull, os.O_RDWR)
        os.set_inheritable(_number, True)
        setattr(sys, _name, open(_number, "w" if _number else "r"))  # noqa: SIM115 - for as long as we live
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports below would print a traceback

try:
    from probe.cli.verbs import main
except Exception as _error:  # no memory, no descriptor; the exit code of an uncaught one would be that of a verdict
    if os.environ.get("USERNS_PROBE_DEBUG"):
        raise
    sys.stderr.write(f"userns-probe: cannot start: {type(_error).__name__} {_error}\n")
    sys.exit(70)

if __name__ == "__main__":
    main()
