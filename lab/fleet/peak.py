"""`python -m lab.fleet.peak ARGUMENTS…` is `userns-probe ARGUMENTS…`; the last line of stderr is its peak memory in kB.

wait4(2) tells no less than what the parent had at fork(2), since execve(2) keeps that maximum; VmHWM begins anew.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from probe.__main__ import main

try:
    main(sys.argv[1:])
finally:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    sys.stderr.write(f"{found[1] if found else 0}\n")
