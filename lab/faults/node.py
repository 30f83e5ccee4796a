"""What may go wrong on a node, for real: each probe ends in time, is honest about it, and the next one is clean."""

from __future__ import annotations

from collections.abc import Iterator

from lab.faults import changes, hangs, kills, limits
from lab.faults.campaign import Progress, Row, times
from lab.faults.stage import make_stage, run_fault
from lab.real.node import make_workspace

FAULTS = (*limits.FAULTS, *kills.FAULTS, *changes.FAULTS, *hangs.FAULTS)
DEAD_NFS = 10
"""How often, at scale 1, the server of an NFS mount is taken away."""


def campaign(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """A row for each kind of fault."""
    with make_workspace() as workspace:
        yield from on_this_kernel(workspace, seed, scale, progress)
    yield from in_guests(seed, scale, progress)


def on_this_kernel(workspace: str, seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """All that needs no machine of its own, on a node below *workspace*."""
    with make_stage(workspace) as stage:
        for fault in FAULTS:
            yield run_fault(stage, fault, seed, scale, progress)


def in_guests(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """What is done to a whole machine."""
    from lab.faults import guest  # it needs what boots kernels

    yield from guest.campaign(["node"], seed, scale, progress)
    yield from without_nfs(scale, progress)


def without_nfs(scale: float, progress: Progress) -> Iterator[Row]:
    """The server of an NFS mount is taken away, in a guest of its own."""
    from lab.faults import guest
    from lab.kernels.dead_nfs import FAULT, dead_nfs

    yield from guest.or_why_not([FAULT], lambda: [dead_nfs(times(DEAD_NFS, scale), progress)])
