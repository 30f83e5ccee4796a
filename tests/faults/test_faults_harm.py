"""A seeded hundredth of what a probe could do to a node: `scripts/fault-campaign harm` does all of it."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from lab.faults import harm, sigkill
from lab.faults.campaign import Row
from lab.prerequisites import require

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]  # some minutes where others work, too

SEED = int(os.environ.get("USERNS_PROBE_SEED", "1"))
SCALE = 0.01


@pytest.mark.usefixtures("bare_node", "containerd")
def test_nothing_is_left_or_held(workspace: str) -> None:
    """Whatever became of it, nothing of it stayed, and nobody had to wait for it."""
    judge(harm.on_this_kernel(workspace, SEED, SCALE, print))


@pytest.mark.usefixtures("containerd")
def test_what_is_killed_leaves_nothing() -> None:
    """At whatever instant."""
    judge(sigkill.campaign(SEED, SCALE, print))


@pytest.mark.timeout(2400)  # an emulated processor takes a multiple of the time
def test_the_same_in_a_guest() -> None:
    """Where a whole machine may be harmed."""
    judge(harm.in_guests(SEED, SCALE, print))


def judge(rows: Iterable[Row]) -> None:
    """Every row is clean, and there is none of which something was missing."""
    print(f"seed {SEED}")  # noqa: T201 - shown when it fails
    done = list(rows)
    assert [row for row in done if not row.clean] == []
    require(all(row.injected for row in done), ", ".join(row.fault for row in done if not row.injected))
