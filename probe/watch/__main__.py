"""`userns-probe watch`: `__main__.py FILE INTERVAL BUDGET [--nfd-dir=DIR] [ARGUMENT OF REPORT]...`, in seconds.

It imports the standard library and its own modules, listens to nobody, and holds nothing but the report's directory. A
probe is a process of its own; whatever becomes of it, the last report stays, and its age shows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.dirname(_PACKAGE) not in sys.path:
    sys.path.append(os.path.dirname(_PACKAGE))  # the last: no other package can stand for a module of the library

from probe.watch.feature_file import FeatureFile  # noqa: E402
from probe.watch.log import log  # noqa: E402
from probe.watch.pace import RENEWAL  # noqa: E402
from probe.watch.report_file import ReportFile  # noqa: E402
from probe.watch.rounds import Rounds, watch  # noqa: E402
from probe.watch.supervisor import Supervisor  # noqa: E402

_USAGE = 64
_GRACE = 5.0  # seconds that a probe may take beyond its budget


def main(arguments: Sequence[str]) -> int:
    """Watch the node until told to end."""
    report_file, interval, budget, *rest = arguments
    nfd_directory = rest.pop(0).partition("=")[2] if rest and rest[0].startswith("--nfd-dir=") else ""
    folder, name = os.path.split(os.path.abspath(report_file))
    try:
        directory = _open(folder)
        features = FeatureFile(_open(nfd_directory)) if nfd_directory else None
    except OSError as error:
        sys.stderr.write(f"userns-probe: cannot open {error.filename}: {os.strerror(error.errno or 0)}\n")
        return _USAGE
    renewal, timeout = min(float(interval), RENEWAL), float(budget) + _GRACE
    command = [sys.executable, "-P", os.path.join(_PACKAGE, "__main__.py"), "report", "-o", "json"]
    supervisor = Supervisor([*command, f"--interval={renewal:g}s", *rest], timeout)
    proc = next((word.partition("=")[2] for word in rest if word.startswith("--proc=")), "/proc")
    rounds = Rounds(supervisor, ReportFile(directory, name, features), 3 * max(renewal, timeout), proc)
    log("watching", report_file=report_file, interval_seconds=float(interval))
    watch(rounds, supervisor, float(interval))
    log("stopped")
    return 0


def _open(folder: str) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
