"""What may go wrong, and what a probe could do, where a whole machine may be harmed: in a guest.

`scripts/fault-campaign node harm` boots a guest for each part, and injects a hundred times as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lab.faults import guest, harm, node
from lab.faults.campaign import Progress, Row
from lab.kernels.machine import Outcome
from tests.extent import ALL
from tests.faults.judging import SEED, judge

SCALE = 0.01


def together(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """Faults on one node, in one guest.

    That a probe holds no volume, tests/faults/test_faults_harm.py shows with a loop device on this machine's kernel.
    What it says of a volume whose server is gone, and of one behind that, tests/real/test_hung_mounts.py shows with
    servers of FUSE that are stopped, or answer nobody, so that whoever waits cannot be killed, as with a hard mount of
    NFS.
    """
    yield from guest.campaign(["node", "modules"], seed, scale, progress)


CAMPAIGNS = {"node": node.in_guests, "harm": harm.in_guests} if ALL else {"together": together}


@pytest.mark.real
@pytest.mark.qemu
@pytest.mark.timeout(3600)  # an emulated processor takes a multiple of the time
@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_a_whole_machine(campaign: str) -> None:
    """Its clock set, limits of namespaces, modules; with --all device mapper and a server of NFS that is gone, too."""
    judge(CAMPAIGNS[campaign](SEED, SCALE, print))


@pytest.fixture
def booted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the guest is booted with; its outcome is the entry `outcome`."""
    seen: dict[str, Any] = {}

    def boot(kernel: object, images: object, command: str, **options: Any) -> Outcome:
        seen.update(options, command=command)
        return seen["outcome"]

    monkeypatch.setattr(guest.machine, "boot", boot)
    monkeypatch.setattr(guest.packages, "kernel", lambda series: series)
    monkeypatch.setattr(guest.image, "images", lambda *tools: [])
    monkeypatch.setattr(guest.image, "runtimes", dict)
    monkeypatch.setattr(guest.wide, "daemons", lambda names: Path(*names))
    return seen


def test_one_guest_gives_the_rows_of_all_campaigns(booted: dict[str, Any]) -> None:
    """As it printed them, and it has the time of all of them."""
    faults = [fault for kind in guest.KINDS.values() for fault in kind]
    printed = [asdict(Row(fault.name, 1, 1, 0.1, 0, ("a problem",))) for fault in faults]
    booted["outcome"] = Outcome(0, printed, 1.0, "")
    rows = list(guest.campaign(list(guest.KINDS), 1, SCALE, print))
    assert [row.fault for row in rows] == [fault.name for fault in faults]
    assert {row.problems for row in rows} == {("a problem",)}
    assert f" {','.join(guest.KINDS)} " in booted["command"]
    assert booted["timeout"] == guest.TIMEOUT * (1 + len(faults))


def test_one_guest_that_fails_fails_all_campaigns(booted: dict[str, Any]) -> None:
    """None of its rows is clean, whatever it printed before."""
    booted["outcome"] = Outcome(1, [asdict(Row("it rains", 1, 1, 0.1, 0))], 1.0, "Panic")
    rows = list(guest.campaign(list(guest.KINDS), 1, SCALE, print))
    assert len(rows) == sum(map(len, guest.KINDS.values()))
    assert not any(row.clean for row in rows)
    assert "Panic" in rows[0].problems[0]
