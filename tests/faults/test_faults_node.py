"""A seeded hundredth of what may go wrong on a node: `scripts/fault-campaign node` does all of it."""

from __future__ import annotations

import pytest

from lab.faults import node
from tests.faults.judging import SEED, judge

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]  # some minutes where others work, too

SCALE = 0.01


@pytest.mark.usefixtures("bare_node", "containerd")
def test_every_probe_is_honest_and_the_next_one_clean(workspace: str) -> None:
    """Whatever was wrong, it ended in time, said why it does not know, and judged everything else."""
    judge(node.on_this_kernel(workspace, SEED, SCALE, print))
