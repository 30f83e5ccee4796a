"""The simulated fleet: it takes the publisher's own decisions, and none is left out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lab.serve.fleet import Fleet
from lab.serve.fleet_scenes import SCENES, quiet, simulate
from lab.serve.serving import ROOT
from probe.publish.parts import Part
from tests.extent import FAST

ALL: frozenset[Part] = frozenset({"annotations", "label", "condition", "events"})
FEW, SEED = 2 if FAST else 4, 5


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_leaving_out_idle_looks_changes_nothing(scene: str) -> None:
    """The same day, looked at every two seconds as `serve` does, costs exactly the same; in the end all are right."""
    found = simulate(scene, FEW, SEED, ALL)
    assert found == simulate(scene, FEW, SEED, ALL, every_look=True)
    assert found.wrong_in_the_end == 0


@pytest.mark.slow
def test_a_quiet_day_costs_four_writes() -> None:
    """One refresh every six hours, of which one part makes one write; reads are spread."""
    found = simulate("a quiet day", 50, SEED, frozenset({"annotations"}))
    assert 3.5 < found.writes_per_node < 4.5
    assert found.peak_reads < 5
    assert found.longest_wait == 0


@pytest.mark.slow
def test_clocks_that_are_set_cost_one_write_each_and_no_storm() -> None:
    """Spread over about three minutes."""
    parts: frozenset[Part] = frozenset({"annotations"})
    quiet_day, found = (simulate(scene, 200, SEED, parts) for scene in ("a quiet day", "all clocks set"))
    assert 0.4 < found.writes_per_node - quiet_day.writes_per_node < 1
    assert found.peak_writes_10s < 4


@pytest.mark.slow
def test_what_happens_is_seen() -> None:
    """A roll-out costs each node about one write more, and makes it ready; while the server is away nobody writes."""
    rolled_out = simulate("a kernel roll-out", 50, SEED, frozenset({"annotations"}))
    assert 4.2 < rolled_out.writes_per_node < 5.5
    assert simulate("a kernel roll-out", 50, SEED + 1, frozenset({"annotations"})) != rolled_out
    fleet = Fleet(50, SEED, frozenset({"annotations"}))
    quiet(fleet)
    fleet.away(0, 3600)
    fleet.run(7200)
    assert not [second for second in fleet.server.writes if 0 <= second < 3600]
    assert fleet.server.writes.total()


@pytest.mark.slow
def test_the_script() -> None:
    """One object for each scene; the seed is told, and makes the same again."""
    command = [sys.executable, "scripts/fleet-simulation", "--nodes=10", "--json"]
    first = json.loads(subprocess.check_output(command, cwd=ROOT))
    assert [each["scene"] for each in first["scenes"]] == list(SCENES)
    again = json.loads(subprocess.check_output([*command, f"--seed={first['seed']}"], cwd=ROOT))
    assert again == first
    done = subprocess.run([*command, "--nodes=0"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (64, "")
    assert "--nodes" in done.stderr
