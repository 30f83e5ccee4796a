"""Hostile content: rubbish for every parser, trees that a Pod can make, processes that imitate the node's own.

Whatever it is, the probe ends in time, says what it could not read, opens and runs nothing of a tenant's, never takes
its word, and what it prints, serves and publishes harms nobody who reads it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from lab.faults import imitators, trees
from lab.faults.campaign import Progress, Row
from lab.faults.fuzz import GUIDED, Job, run
from lab.faults.stage import Stage, own_stage, run_fault
from lab.faults.targets import TARGETS

FAULTS = (*trees.FAULTS, *imitators.FAULTS)
GUIDED_FROM = 0.1
"""Scale below which coverage is no guide: it takes longer to instrument all modules than to try the inputs."""


def campaign(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """A row for each subject that is parsed, and for each kind of tenant."""
    yield from inputs(seed, scale, progress)
    with own_stage() as stage:
        yield from on_a_node(stage, seed, scale, progress)


def inputs(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """A row for each group of targets, once the last of it is over."""
    waiting = defaultdict(list)
    for target in TARGETS.values():
        waiting[target.group].append(target.name)
    over: dict[str, Job] = {}
    for job in run(list(TARGETS.values()), seed, scale, progress, guided=GUIDED and scale >= GUIDED_FROM):
        over[job.target.name] = job
        names = waiting[job.target.group]
        if all(name in over for name in names):
            yield row_of(job.target.group, [over[name] for name in names])


def row_of(group: str, jobs: list[Job]) -> Row:
    """All that was tried on one group, and how it was chosen; parsers leave nothing anywhere."""
    done, faults = sum(job.done for job in jobs), sum(job.faults for job in jobs)
    problems = tuple(problem for job in jobs for problem in job.problems)
    how = "guided by coverage" if all(job.guided for job in jobs) else "mutated recordings"
    return Row(f"{group} ({how})", done, done - faults, max(job.worst for job in jobs), None, problems)


def on_a_node(stage: Stage, seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """A row for each kind of tree and of imitation, beside real daemons."""
    for fault in FAULTS:
        yield run_fault(stage, fault, seed, scale, progress)
