"""A seeded hundredth of what may go wrong on a node: `scripts/fault-campaign node` does all of it."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from lab.faults import node
from lab.faults.campaign import Row
from lab.prerequisites import require

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]  # some minutes where others work, too

SEED = int(os.environ.get("USERNS_PROBE_SEED", "1"))
SCALE = 0.01


@pytest.mark.usefixtures("bare_node", "containerd")
def test_every_probe_is_honest_and_the_next_one_clean(workspace: str) -> None:
    """Whatever was wrong, it ended in time, said why it does not know, and judged everything else."""
    judge(node.on_this_kernel(workspace, SEED, SCALE, print))


@pytest.mark.timeout(2400)  # an emulated processor takes a multiple of the time
def test_the_same_in_a_guest() -> None:
    """Where a whole machine may be harmed."""
    judge(node.in_guests(SEED, SCALE, print))


def judge(rows: Iterable[Row]) -> None:
    """Every row is clean, and there is none of which something was missing."""
    print(f"seed {SEED}")  # noqa: T201 - shown when it fails
    done = list(rows)
    assert [row for row in done if not row.clean] == []
    require(all(row.injected for row in done), ", ".join(row.fault for row in done if not row.injected))
