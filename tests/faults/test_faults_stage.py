"""The judges of the campaigns: they notice what must not be."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest

from lab.faults import stage
from lab.faults.hangs import chosen_budget
from lab.faults.honesty import LEVELS, Well
from lab.faults.kills import expect_a_part
from lab.faults.stage import BrokenError, Fault, Stage, run_fault
from lab.real.node import Probed

CHECKS = {
    "probe-privileges": "pass",
    "kernel": "pass",
    "kubelet-running": "pass",
    "runtime": "pass",
    "cgroup": "warn",
    "filesystem-tmpfs": "pass",
    "filesystem-volumes": "skipped",
}
GATING = {"kernel", "kubelet-running", "runtime", "filesystem-tmpfs"}
LEVEL = {"filesystem-tmpfs": "projected", "filesystem-volumes": "volumes"}
TMPFS = {"role": "tmpfs", "fstype": "tmpfs", "result": "supported", "reason": ""}


def probed(
    verdict: str = "ready",
    code: int = 0,
    stderr: str = "",
    message: str = "out of memory",
    levels: dict[str, str] | None = None,
    rows: tuple[dict[str, str], ...] = (TMPFS,),
    without: str = "",
    why: str = "",
    **checks: str,
) -> Probed:
    """What a probe said; its levels are right unless they are given."""
    said = CHECKS | {key.replace("_", "-"): value for key, value in checks.items()}
    findings = [
        {
            "id": key,
            "status": value,
            "message": message if value != CHECKS.get(key) else "",
            "evidence": [],
            "reason": why,
            "level": LEVEL.get(key, "stateless"),
            "gating": key in GATING,
        }
        for key, value in said.items()
        if key != without
    ]
    due = dict.fromkeys(LEVELS, verdict)
    report = {"verdict": verdict, "reason": "", "message": "out of memory", "findings": findings, "filesystems": rows}
    return Probed(code, json.dumps(report | {"levels": due | (levels or {})}), stderr, 0, 0.1)


def made(**fields: Any) -> Stage:
    """A stage without a node."""
    return Stage(Mock(), "", "", Mock(), well=Well.of(probed().report), **fields)


UNTRIED = TMPFS | {"result": "unknown", "reason": "timed out"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (probed("not-ready", 1, kernel="fail"), "not-ready"),
        (probed(kernel="fail"), "checks say what is not so: {'kernel': 'fail'}"),
        (probed(cgroup="pass"), "checks say what is not so"),
        (probed("unknown", 0, kernel="unknown"), "exit code 0 with unknown"),
        (probed("unknown", 2, runtime="unknown"), "not judged although nothing stood in the way: ['runtime']"),
        (probed("unknown", 2, kernel="unknown", message=""), "unknown without a reason"),
        (probed("unknown", 2, kernel="unknown", message="because"), "is named"),
        (probed("unknown", 2, kernel="unknown", why="NotPermitted"), "where nothing confines the probe: ['kernel']"),
        (probed(stderr="Traceback"), "on stderr"),
        (probed(code=70), "exit code 70"),
        (probed(code=-9), "exit code -9"),
        (probed(without="cgroup"), "not the same checks: ['cgroup']"),
        (probed(without="kernel"), "not the same checks: ['kernel']"),
        (probed(one_more="pass"), "not the same checks: ['one-more']"),
        (probed(kernel="unknown"), "but the findings say"),
        (probed("unknown", 2, kernel="unknown", levels={"local": "ready"}), "but the findings say"),
        (probed("unknown", 2, kernel="unknown", levels={"volumes": "not-ready"}), "but the findings say"),
        (probed("unknown", 2), "but the findings say"),
        (probed(levels={"volumes": "unknown"}), "but the findings say"),
        (probed(rows=()), "tmpfs is judged without an attempt"),
        (probed(rows=(UNTRIED,)), "tmpfs is judged without an attempt"),
        (probed(rows=(TMPFS | {"result": "refused"},)), "tmpfs is tmpfs, supported, and not"),
        (probed(rows=(TMPFS | {"fstype": "ext4"},)), "tmpfs is tmpfs, supported, and not"),
        (probed(rows=(TMPFS, TMPFS | {"role": "path"})), "tried as what is not there otherwise: {'path'}"),
    ],
)
def test_what_a_probe_must_not_say(said: Probed, words: str) -> None:
    with pytest.raises(BrokenError) as problem:
        made().expect(said, "ready", "unknown", unknown={"kernel"}, cause=("out of memory",))
    assert words in str(problem.value)


@pytest.mark.parametrize(
    "said", [probed(), probed("unknown", 2, kernel="unknown"), probed(runtime="warn"), probed(rows=(TMPFS, TMPFS))]
)
def test_what_it_may_say(said: Probed) -> None:
    made().expect(said, "ready", "unknown", unknown={"kernel"}, cause=("out of memory",), right={"runtime": {"warn"}})


def test_a_volume_is_what_a_fault_is_about() -> None:
    made().expect(probed(rows=(TMPFS, TMPFS | {"role": "volume", "result": "refused"})), "ready")


def test_what_is_not_tried_is_not_known() -> None:
    """A row may be unknown, or not be there, where its check is unknown; and why is said."""
    lost = {"filesystem_tmpfs": "unknown", "levels": {"stateless": "ready"}}
    for rows in ((), (UNTRIED,)):
        made().expect(probed("unknown", 2, rows=rows, **lost), "unknown", unknown={"filesystem-tmpfs"})
    with pytest.raises(BrokenError, match="without a reason"):
        made().expect(probed("unknown", 2, rows=(UNTRIED | {"reason": ""},), **lost), "unknown")


def test_a_file_system_that_moved() -> None:
    """It may be of another type then, and still has to take a mapping."""
    other = TMPFS | {"fstype": "ext4"}
    made().expect(probed(rows=(other,)), "ready", moved={"tmpfs"})
    with pytest.raises(BrokenError, match="supported, and not"):
        made().expect(probed(rows=(other | {"result": "refused"},)), "ready", moved={"tmpfs"})


@pytest.mark.parametrize("named", ["probe_privileges", "kubelet_running"])
def test_where_nothing_is_known_somebody_says_why(named: str) -> None:
    """Of the probe itself, or of the kubelet; any other reason may be one for itself."""
    lost: dict[str, Any] = dict.fromkeys((each.replace("-", "_") for each in GATING), "unknown")
    with pytest.raises(BrokenError, match="nothing is known, and nobody says why"):
        made().expect(
            probed("unknown", 2, **lost, message="because"),
            "unknown",
            cause=("x",),
            right={key: {"unknown"} for key in CHECKS},
        )
    made().expect(probed("unknown", 2, **lost | {named: "unknown"}), "unknown", cause=("out of memory",))


def test_a_probe_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog ends it, and what it has started."""
    monkeypatch.setattr(stage, "WATCHDOG", 0.0)
    with subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000"], stdout=-1, stderr=-1, text=True) as hangs:
        with pytest.raises(BrokenError, match="did not end within its budget"):
            made().finish(hangs, time.monotonic(), 0.2)
        assert hangs.wait() == -signal.SIGKILL


def test_a_row_of_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number is another fault, the same one for the same seed; what fails is told with both."""
    here, left = made(), iter([{}, {"processes": ["+7 python", "+8 runc"]}, {}])
    seen, numbers = [], []
    monkeypatch.setattr(stage, "look_without_pids", lambda node: {})
    monkeypatch.setattr(stage, "settled", lambda *_: next(left))
    monkeypatch.setattr(here, "expect_clean", lambda: None)

    def inject(_: Stage, chance: random.Random) -> None:
        seen.append(chance.random())
        numbers.append(here.number)
        if len(seen) == 1:
            raise BrokenError("it got wet")

    row = run_fault(here, Fault("rain", 300, inject), 7, 0.01, lambda words: None)
    assert (row.injected, row.survived, row.leftovers, row.clean) == (3, 1, 2, False)
    assert row.problems[0] == "seed 7, rain, number 0: it got wet"
    assert row.problems[1].startswith("seed 7, rain, number 1: left behind")
    assert len(set(seen)) == 3
    assert numbers == [0, 1, 2]
    assert seen[0] == random.Random("7 rain 0").random()


@pytest.mark.parametrize(("count", "hits", "clean"), [(9, 0, True), (10, 0, False), (10, 1, True)])
def test_a_row_that_always_misses(count: int, hits: int, clean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten probes that never met what they were to survive have survived nothing."""
    here = made()
    here.hits = 7  # of the row before
    monkeypatch.setattr(stage, "look_without_pids", lambda node: {})
    monkeypatch.setattr(stage, "settled", lambda *_: {})
    monkeypatch.setattr(here, "expect_clean", lambda: None)

    def inject(here: Stage, chance: random.Random) -> None:
        here.hits = hits

    row = run_fault(here, Fault("rain", count, inject, aim="it got wet"), 7, 1, lambda words: None)
    assert (row.survived, row.clean) == (count, clean)
    assert clean or row.problems == ("seed 7, rain: it got wet: not once in 10",)


def test_what_a_fault_saw_left_behind_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and for its own injection."""
    here = made()
    monkeypatch.setattr(stage, "look_without_pids", lambda node: {})
    monkeypatch.setattr(stage, "settled", lambda *_: {})
    monkeypatch.setattr(here, "expect_clean", lambda: None)

    def inject(here: Stage, chance: random.Random) -> None:
        here.left += ["process python"] if here.number == 1 else []

    row = run_fault(here, Fault("rain", 3, inject), 7, 1, lambda words: None)
    assert (row.survived, row.leftovers) == (2, 1)


def test_what_a_machine_lacks_is_said() -> None:
    """And counts as nothing done."""
    row = run_fault(made(), Fault("rain", 100, Mock(), lambda: "a cloud"), 7, 1, lambda words: None)
    assert (row.fault, row.injected, row.clean) == ("rain (not run: a cloud is missing)", 0, True)


def test_every_row_has_the_whole_budget_at_least_once() -> None:
    """Or nothing shows that all else is judged."""
    here = made()
    assert {chosen_budget(here, random.Random(seed)) for seed in range(50)} == {here.budget}
    here.number = 1
    chosen = [chosen_budget(here, random.Random(seed)) for seed in range(50)]
    assert 15 < chosen.count(here.budget) < 35


@pytest.mark.parametrize(
    ("lost", "gatherer", "good"),
    [
        ({"sandbox-trial"}, False, True),
        ({"runtime-snapshotter"}, False, True),
        ({"sandbox-trial", "runtime-snapshotter"}, False, False),
        ({"probe-privileges"}, False, False),
        ({"probe-privileges"}, True, True),
    ],
)
def test_one_process_is_for_one_part(lost: set[str], gatherer: bool, good: bool) -> None:
    """What another one found out is judged all the same; only one of them gathers everything."""
    calm = {"sandbox_trial": "pass", "runtime_snapshotter": "pass"}
    here = Stage(Mock(), "", "", Mock(), well=Well.of(probed(**calm).report))
    checks: dict[str, Any] = calm | {key.replace("-", "_"): "unknown" for key in lost}
    if gatherer:
        checks |= {"kernel": "unknown", "verdict": "unknown", "code": 2}
    said = probed(**checks, message="the gathering process ended without an answer")
    with nullcontext() if good else pytest.raises(BrokenError, match="nothing stood in the way"):
        expect_a_part(here, said, gatherer)
