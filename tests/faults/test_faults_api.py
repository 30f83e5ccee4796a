"""A hundredth of the campaign against `serve`, and that it would notice."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from lab.faults import api_world
from lab.faults.api import EACH, campaign, deal
from lab.faults.api_answers import answers
from lab.faults.api_clients import CLIENTS
from lab.faults.api_round import Round, attempts
from lab.faults.api_troubles import EITHER_OR, REPORTS, TROUBLES, taken_keys
from lab.faults.api_world import Lied, World, await_, running
from lab.serve.api_double import Fault
from lab.serve.api_store import Request
from lab.serve.serving import put_report, report_of_now

SEED = int(os.environ.get("USERNS_PROBE_SEED", "1"))
KINDS = [*answers("https://elsewhere"), *TROUBLES, *REPORTS, *CLIENTS]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A node that is ready, and says so."""
    with running(tmp_path) as made:
        made.probe("ready")
        made.settle()
        yield made


@pytest.fixture
def impatient(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same, and nobody waits long for what does not come."""
    monkeypatch.setattr(api_world, "WATCHDOG", 0.5)
    return world


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundredth() -> None:
    """Each kind of fault at least once, in random order and on top of each other."""
    rows = list(campaign(SEED, 0.01, lambda _: None))
    assert [problem for row in rows for problem in row.problems] == []
    assert {row.fault for row in rows[:-1]} == set(KINDS)
    assert all(row.clean and row.injected for row in rows)
    assert rows[-1].injected == sum(row.injected for row in rows[:-1])


def test_all_faults_are_dealt_and_the_same_ones_for_the_same_seed() -> None:
    """In rounds of a few, and never two that exclude each other."""
    rounds = deal(KINDS * EACH, random.Random(SEED))
    assert sorted(kind for dealt in rounds for kind in dealt) == sorted(KINDS * EACH)
    assert all(len(set(dealt)) == len(dealt) for dealt in rounds)
    assert not any(len(group & set(dealt)) > 1 for dealt in rounds for group in EITHER_OR)
    assert rounds == deal(KINDS * EACH, random.Random(SEED))
    assert rounds != deal(KINDS * EACH, random.Random(SEED + 1))


def test_a_seed_is_a_round_however_long_it_takes() -> None:
    """The server may answer at once or after many tries: whatever comes after that is the dice's all the same."""
    states = set()
    for tries in (1, 2, 7):
        world, dice = Mock(), random.Random(SEED)
        world.api.faults, world.difference.return_value = [], ""

        def probe(_: str, world: Mock = world, last: int = tries) -> None:
            if world.probe.call_count >= last:
                world.api.faults.clear()

        world.probe.side_effect = probe
        Round(world, dice, {"refused": [Fault]})._inject(["refused"])
        assert world.probe.call_count >= tries
        states.add(dice.random())
    assert len(states) == 1


@pytest.mark.slow
def test_it_notices_a_node_that_says_something_else(impatient: World) -> None:
    """Nobody takes back what another manager wrote, as long as nothing changes."""
    next(taken_keys(impatient, random.Random(SEED)))
    with pytest.raises(Lied, match="never said ready: annotations"):
        impatient.settle()


@pytest.mark.slow
def test_it_notices_a_label_that_forgets(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict is unknown now, and so is the label, though it was known in this boot."""
    world.spoil(lambda path: None)
    world.settle()
    assert not world.difference()
    world.api.store.nodes[api_world.NODE]["metadata"]["labels"]["userns-probe.io/ready"] = "unknown"
    monkeypatch.setattr(api_world, "WATCHDOG", 0.5)
    with pytest.raises(Lied, match=r"never said unknown: labels .*unknown"):
        world.settle()


@pytest.mark.slow
def test_it_notices_a_state_that_was_never_sent(impatient: World) -> None:
    """The server is away, and does not come back."""
    impatient.api.stop()
    impatient.probe("not-ready")
    with pytest.raises(Lied, match="never said not-ready"):
        impatient.settle()
    impatient.api.start(impatient.api.port)


@pytest.mark.slow
def test_it_notices_a_verdict_that_does_not_hold(world: World) -> None:
    """Nobody told the world of that report."""
    put_report(world.file, report_of_now(name=api_world.NODE, verdict="not-ready", reason="TmpfsNotIdmappable"))
    with pytest.raises(Lied, match="/metrics says not-ready"):
        await_(lambda: not world.scrape(), str)


@pytest.mark.slow
def test_it_notices_a_storm(world: World) -> None:
    """Writes that no change asked for, and retries that no backoff let through."""
    play = Round(world, random.Random(SEED), {})
    world.begin()
    world.changes = 1
    fine = {"success": 1, "error": 2, "skipped": 0}
    world.api.requests += [Request("PATCH", "/", status=200)] * 12
    assert play._storm(fine, 1.0) == ""
    world.api.requests += [Request("PATCH", "/", status=200)]
    assert "13 writes" in play._storm(fine, 1.0)
    assert "100 retries" in play._storm({"success": 1, "error": 100, "skipped": 0}, 1.0)
    assert [attempts(seconds) for seconds in (0, 0.03, 0.1, 10)] == [2, 3, 4, 54]
