"""What every fault campaign hands back: one row for each kind of fault, and the table that they make together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

CAMPAIGNS = {
    "node": "what goes wrong on a node: limits, kills, restarts, dead servers, full disks, clocks",
    "sigkill": "what a probe that is killed could leave behind",
    "harm": "what a probe could do to a node: hold volumes, load modules, flood logs",
    "content": "what others wrote: files, trees, processes, and outputs that stay clean",
    "api": "what an API server may answer to `serve`",
}
"""Each is the function `campaign` of the module of that name, and a part of docs/evidence.md."""

Progress = Callable[[str], None]
"""Is told in a few words what happens now; called often."""


@dataclass(frozen=True)
class Row:
    """What one kind of fault did to the probe, and the probe to the node."""

    fault: str  # in words that an operator understands
    injected: int  # how often
    survived: int  # how often all that was expected held
    worst: float  # seconds of the slowest probe, answer or recovery; 0 where none was timed
    leftovers: int | None  # what the probe left behind, in whatever form; None where nobody looked
    problems: tuple[str, ...] = ()  # one line for each time that something did not hold, enough to do it again

    @property
    def clean(self) -> bool:
        """Whether the probe was up to it every time."""
        return self.survived == self.injected and not self.leftovers and not self.problems


Campaign = Callable[[int, float, Progress], Iterator[Row]]
"""(seed, scale, progress) -> rows. Scale 1 is a whole campaign, up to 0.01 what the tests do; at least one of
each fault is injected at any scale. The same seed injects the same faults in the same order."""


def times(whole: int, scale: float) -> int:
    """How often to inject a fault that is injected *whole* times at scale 1."""
    return max(1, round(whole * scale))


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| fault | injected | survived | worst time | leftovers |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {row.fault} | {row.injected:,} | {row.survived:,} | {_seconds(row.worst)} | {_shown(row.leftovers)} |"
        for row in rows
    ]
    return "\n".join(lines)


def _seconds(worst: float) -> str:
    """Where nothing was measured, nothing is said."""
    return f"{worst:.2f} s" if worst else "-"


def _shown(leftovers: int | None) -> str:
    return "-" if leftovers is None else f"{leftovers:,}"
