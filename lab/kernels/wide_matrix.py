"""The kernel matrix with `--wide`: every file system, from a second guest of each kernel, and arm64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from lab.kernels import arm64, machine, matrix, packages, wide
from lab.kernels.judge import Judged, judge
from lab.kernels.matrix import Run
from lab.kernels.wide_inside import ROWS
from lab.real.debian import Broken, Unavailable

NAMES = (*packages.SERIES, arm64.ARCHITECTURE)


def run(name: str) -> Run:
    """The run of a series, or of arm64.

    *Errors*: debian.Unavailable where a tool is missing here.
    """
    if name == arm64.ARCHITECTURE:
        return _run_arm64()
    found = matrix.run(name)
    if found.not_run or found.failed:
        return found
    kernel = packages.kernel(name)
    try:
        outcome = wide.observe(kernel)
    except (machine.GuestError, Broken) as problem:
        return replace(found, failed=str(problem))
    more = judge_wide(kernel, outcome.documents)
    seconds = round(found.seconds + outcome.seconds, 1)
    return replace(found, seconds=seconds, judged=_together(found.judged, more), failed=matrix.failure(outcome))


def judge_wide(kernel: packages.Kernel, documents: Sequence[dict[str, Any]]) -> Judged:
    """What wide_inside.py observed: as all else, and what the kernel has must not be missing."""
    judged = judge(documents)
    unavailable = {each["row"]: f"not run: {each['unavailable']}" for each in documents if "unavailable" in each}
    problems = (*judged.problems, *_problems(kernel, judged))
    return replace(judged, absent=judged.absent | unavailable, problems=problems)


def _problems(kernel: packages.Kernel, judged: Judged) -> Iterator[str]:
    for row in judged.absent:
        if packages.offers(kernel, ROWS[row].types):
            yield f"{row}: the kernel's package has it, and the guest has not"


def _together(one: Judged, other: Judged) -> Judged:
    return Judged(
        (*one.filesystems, *other.filesystems),
        (*one.scenarios, *other.scenarios),
        one.absent | other.absent,
        (*one.problems, *other.problems),
        one.again + other.again,
    )


def _run_arm64() -> Run:
    found = Run(arm64.ARCHITECTURE)
    try:
        kernel = packages.kernel(arm64.SERIES, arm64.ARCHITECTURE)
        found = matrix.run_of(arm64.ARCHITECTURE, kernel)
        runtimes, outcome = arm64.observe(kernel)
    except Unavailable as problem:
        return Run(arm64.ARCHITECTURE, not_run=f"gone: {problem}")
    except (machine.GuestError, Broken) as problem:
        return replace(found, failed=str(problem))
    return matrix.ended(matrix.run_of(arm64.ARCHITECTURE, kernel, *runtimes.values()), outcome)
