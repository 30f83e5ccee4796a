"""The judges of the campaigns: they notice what must not be."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from typing import Any
from unittest.mock import Mock

import pytest

from tests.conftest import require
from tests.faults import stage
from tests.faults.stage import BrokenError, Fault, Stage, run_fault
from tests.faults.volumes import RETRY, loop_device, unmounted
from tests.real import kernel
from tests.real.filesystems import CATALOG
from tests.real.node import Node, Probed

CHECKS = {"kernel": "pass", "runtime": "pass", "cgroup": "warn"}


def made(**fields: Any) -> Stage:
    """A stage without a node."""
    return Stage(Mock(), "", "", Mock(), well=CHECKS, **fields)


def probed(
    verdict: str = "ready", code: int = 0, stderr: str = "", message: str = "out of memory", **checks: str
) -> Probed:
    """What a probe said."""
    findings = [{"id": key, "status": value, "message": message} for key, value in (CHECKS | checks).items()]
    report = {"verdict": verdict, "reason": "", "message": "", "findings": findings}
    return Probed(code, json.dumps(report), stderr, 0, 0.1)


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
        (probed(stderr="Traceback"), "on stderr"),
        (probed(code=70), "exit code 70"),
        (probed(code=-9), "exit code -9"),
    ],
)
def test_what_a_probe_must_not_say(said: Probed, words: str) -> None:
    with pytest.raises(BrokenError) as problem:
        made().expect(said, "ready", "unknown", unknown={"kernel"}, cause=("out of memory",))
    assert words in str(problem.value)


@pytest.mark.parametrize(
    "said", [probed(), probed("unknown", 2, kernel="unknown"), probed(kernel="unknown"), probed(runtime="warn")]
)
def test_what_it_may_say(said: Probed) -> None:
    made().expect(said, "ready", "unknown", unknown={"kernel"}, cause=("out of memory",), right={"runtime": {"warn"}})


def test_a_probe_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog ends it, and what it has started."""
    monkeypatch.setattr(stage, "WATCHDOG", 0.0)
    with subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000"], stdout=-1, stderr=-1, text=True) as hangs:
        with pytest.raises(BrokenError, match="did not end within its budget"):
            made().finish(hangs, time.monotonic(), 0.2)
        assert hangs.wait() == -signal.SIGKILL


def test_a_row_of_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number is another fault, the same one for the same seed; what fails is told with both."""
    here, left, seen = made(), iter([{}, {"processes": ["+7 python", "+8 runc"]}, {}]), []
    monkeypatch.setattr(stage, "look_without_pids", lambda node: {})
    monkeypatch.setattr(stage, "settled", lambda *_: next(left))
    monkeypatch.setattr(here, "expect_clean", lambda: None)

    def inject(_: Stage, chance: random.Random) -> None:
        seen.append(chance.random())
        if len(seen) == 1:
            raise BrokenError("it got wet")

    row = run_fault(here, Fault("rain", 300, inject), 7, 0.01, lambda words: None)
    assert (row.injected, row.survived, row.leftovers, row.clean) == (3, 1, 2, False)
    assert row.problems[0] == "seed 7, rain, number 0: it got wet"
    assert row.problems[1].startswith("seed 7, rain, number 1: left behind")
    assert len(set(seen)) == 3
    assert seen[0] == random.Random("7 rain 0").random()


def test_what_a_machine_lacks_is_said() -> None:
    """And counts as nothing done."""
    row = run_fault(made(), Fault("rain", 100, Mock(), lambda: "a cloud"), 7, 1, lambda words: None)
    assert (row.fault, row.injected, row.clean) == ("rain (not run: a cloud is missing)", 0, True)


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
        assert unmounted(device, path, Mock(uniform=lambda *_: 0.1)) > 1
        holder.join()
        assert unmounted(device, path, random.Random(1)) <= 1


def made_on(node: Node) -> Stage:
    """A stage on a node without daemons."""
    return Stage(node, "", "", Mock())
