"""What a running process takes, as the kernel counts it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def memory(process: int | str) -> dict[str, int]:
    """Of a process, by its pid or by its directory in the /proc of a node.

    *Units*: bytes; `pss` has of what is shared with others a share, `rss` all. *Errors*: OSError when it has ended."""
    lines = Path("/proc", str(process), "smaps_rollup").read_text().splitlines()[1:]
    fields = {line.split()[0]: int(line.split()[1]) << 10 for line in lines}
    return {"pss": fields["Pss:"], "rss": fields["Rss:"]}


def cpu(pid: int) -> float:
    """Seconds of CPU that its threads took so far, to the nanosecond; of threads that ended nothing."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with suppress(FileNotFoundError):
            total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    return total / 1e9
