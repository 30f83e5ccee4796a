"""What a probe could do to a node: hold a volume, load a module, flood a log, stand in another's way. It does not."""

from __future__ import annotations

from collections.abc import Iterator

from lab.faults import quiet, volumes
from lab.faults.campaign import Progress, Row
from lab.faults.stage import make_stage, run_fault
from lab.real.node import make_workspace


def campaign(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """A row for each way to do harm."""
    with make_workspace() as workspace:
        yield from on_this_kernel(workspace, seed, scale, progress)
    yield from in_guests(seed, scale, progress)


def in_guests(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """What takes a kernel with device mapper."""
    from lab.faults import guest  # it needs what boots kernels

    yield from guest.campaign(["devices", "modules"], seed, scale, progress)


def on_this_kernel(workspace: str, seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """All that needs no machine of its own, on a node below *workspace*."""
    with make_stage(workspace) as stage:
        for fault in (*volumes.FAULTS, *quiet.FAULTS):
            yield run_fault(stage, fault, seed, scale, progress)
