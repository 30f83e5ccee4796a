"""A seeded hundredth of what a probe could do to a node: `scripts/fault-campaign harm` does all of it."""

from __future__ import annotations

import pytest

from lab.faults import harm, sigkill
from tests.extent import ALL
from tests.faults.judging import SEED, judge

# Some minutes where others work, too.
pytestmark = [pytest.mark.real, pytest.mark.whole_machine, pytest.mark.timeout(600)]

SCALE = 0.01
SIGKILL_SCALE = SCALE if ALL else 0.003
"""30 probes: the campaign of nodes and the trial of the runtime kill theirs at any instant, too."""


@pytest.mark.usefixtures("bare_node", "containerd")
def test_nothing_is_left_or_held(workspace: str) -> None:
    """Whatever became of it, nothing of it stayed, and nobody had to wait for it."""
    judge(harm.on_this_kernel(workspace, SEED, SCALE, print))


@pytest.mark.usefixtures("containerd")
def test_what_is_killed_leaves_nothing() -> None:
    """At whatever instant."""
    judge(sigkill.campaign(SEED, SIGKILL_SCALE, print))
