"""The judge of volumes beside probes: it notices one that is held, and that nobody came by."""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest

from lab.faults import volumes
from lab.faults.stage import BrokenError, Stage
from lab.faults.volumes import CYCLES, MOST, RETRY, Volume, beside_probes, loop_device, unmounted
from lab.prerequisites import require
from lab.real import kernel
from lab.real.filesystems import CATALOG
from lab.real.node import Node


@pytest.mark.parametrize(("met", "times"), [(0, MOST * CYCLES), (1, CYCLES)])
def test_a_volume_that_no_probe_met_shows_nothing(met: int, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried longer, but not for ever."""
    here, durations = Volume("/volume", met=met), []

    def cycle(seconds: float) -> int:
        durations.append(seconds)
        return 0

    monkeypatch.setattr(volumes, "probes_in_a_loop", lambda *_: nullcontext())
    with nullcontext() if met else pytest.raises(BrokenError, match="no probe met the volume"):
        beside_probes(Stage(Mock(), "", "", Mock(), life=10.0), random.Random(1), here, cycle)
    assert len(durations) == CYCLES // 3 + times
    assert max(durations) > 9.0


@pytest.mark.real
def test_a_clone_that_is_held_keeps_the_device_busy(bare_node: Any) -> None:
    """A probe that held one would be noticed: so this loop proves something."""
    require(not CATALOG["ext4"].missing(), CATALOG["ext4"].missing())
    with bare_node() as node, loop_device(made_on(node)) as device:
        path = node.path("volume")
        os.mkdir(path)
        release = threading.Event()

        def hold() -> None:
            while path not in kernel.mounts_below(path):
                time.sleep(0.001)
            clone = kernel.clone(path)
            release.wait(0.1 + 30 * RETRY)
            os.close(clone)

        holder = threading.Thread(target=hold)
        holder.start()
        assert unmounted(device, Volume(path), 0.1) > 1
        holder.join()
        assert unmounted(device, Volume(path), 0.01) <= 1


def made_on(node: Node) -> Stage:
    """A stage on a node without daemons."""
    return Stage(node, "", "", Mock())
