"""Does anything grow with the work that is done? Samples at quiet moments, and the judgement over them.

Counts (descriptors, threads, mounts, ...) may not grow at all: of no figure may each sample of the last third lie above
each of the first. Memory moves by itself, as allocators take and keep pages; it grows when the line through all samples
rises by more than KIB_PER_1000 for each thousand pieces of work, and by more than NOISE of what there was at first.
"""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lab.real.node import descendants
from lab.serve.serving import Serving, wait_for

MEMORY = "memory, KiB"
KIB_PER_1000 = 32.0
NOISE = 1 / 40
CLIENTS = 4
PATHS = ("/metrics", "/metrics", "/metrics", "/", "/report.json", "/healthz", "/readyz", "/not-here")
"""What clients ask for in turn: mostly what Prometheus does."""

Figures = dict[str, float]


@dataclass(frozen=True)
class Sample:
    """What was counted after so much work."""

    work: float
    figures: Figures


class Row(NamedTuple):
    """How one figure went."""

    name: str
    first: float
    last: float
    slope: float  # for each thousand pieces of work
    grows: bool


def judge(samples: Sequence[Sample]) -> list[Row]:
    """A row for each figure."""
    third = max(len(samples) // 3, 1)
    work = [sample.work for sample in samples]
    rows = []
    for name in samples[0].figures:
        values = [sample.figures[name] for sample in samples]
        slope = statistics.linear_regression(work, values).slope * 1000
        if name.endswith(MEMORY):
            grows = slope > KIB_PER_1000 and slope * work[-1] / 1000 > NOISE * values[0]
        else:
            grows = min(values[-third:]) > max(values[:third])
        rows.append(Row(name, values[0], values[-1], slope, grows))
    return rows


def table(rows: Sequence[Row], unit: str) -> str:
    """The rows as people read them; *unit* is what a piece of work is."""
    lines = [("", "first", "last", f"per 1,000 {unit}", "")]
    for row in rows:
        lines.append((row.name, f"{row.first:.0f}", f"{row.last:.0f}", f"{row.slope:+.1f}", "GROWS" * row.grows))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (str.ljust, str.rjust, str.rjust, str.rjust, str.ljust)
    return "\n".join(
        "  ".join(align(cell, width) for align, cell, width in zip(aligned, line, widths, strict=True)).rstrip()
        for line in lines
    )


def figures_of_process(pid: int, name: str) -> Figures:
    """What a process holds, each figure with *name* in front."""
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":\t", 1) for line in file)
    children = descendants(pid)[1:]
    return {
        f"{name}: {MEMORY}": int(status["RssAnon"].split()[0]),
        f"{name}: descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        f"{name}: threads": int(status["Threads"]),
        f"{name}: children": len(children),
        f"{name}: zombies": sum(_is_zombie(child) for child in children),
    }


def _is_zombie(pid: int) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(") ")[2].startswith("Z")
    return False


def soak(work: Callable[[int], None], look: Callable[[], Figures], total: int, samples: int) -> list[Sample]:
    """Do *total* pieces of work, and look *samples* times on the way and once before; it should be warm by then.

    *work* does as many as it is told and returns when all is quiet again.
    """
    found = [Sample(0, look())]
    for number in range(samples):
        done, until = total * number // samples, total * (number + 1) // samples
        work(until - done)
        found.append(Sample(until, look()))
    return found


class Clients:
    """Clients that ask `serve` all at once."""

    def __init__(self, server: Serving) -> None:
        self._server = server
        self.refused: list[str] = []
        """What did not come as it should."""

    def ask(self, times: int) -> None:
        """So many requests, shared by the clients; returns when the last connection is closed."""
        shares = [times // CLIENTS + (number < times % CLIENTS) for number in range(CLIENTS)]
        threads = [threading.Thread(target=self._ask, args=(share,)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: not _connections(self._server.process.pid))

    def _ask(self, times: int) -> None:
        for number in range(times):
            path = PATHS[number % len(PATHS)]
            try:
                status = self._server.get(path, Accept="application/openmetrics-text;version=1.0.0").status
            except OSError as error:
                self.refused.append(f"{path}: {error}")
                continue
            if status != (404 if path == "/not-here" else 200):
                self.refused.append(f"{path}: {status}")


def _connections(pid: int) -> int:
    """How many sockets of TCP a process has open beside the one on which it listens."""
    established = _inodes("/proc/net/tcp", "01") | _inodes("/proc/net/tcp", "08")  # 08: the client closed it
    links = (_link(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    return sum(link.removeprefix("socket:[").rstrip("]") in established for link in links)


def _inodes(table: str, state: str) -> set[str]:
    rows = (line.split() for line in Path(table).read_text().splitlines()[1:])
    return {row[9] for row in rows if row[3] == state}


def _link(path: str) -> str:
    with suppress(OSError):
        return os.readlink(path)
    return ""
