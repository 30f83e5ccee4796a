"""`python -m probe` is `userns-probe`."""

import os
import signal
import sys

if not __package__:  # run by its path, as `watch` does: then nothing else says where the rest is
    _root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if _root not in sys.path:
        sys.path.insert(0, _root)
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports below would print a traceback

from probe.cli import main

if __name__ == "__main__":
    main()
