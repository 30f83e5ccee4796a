"""SIGKILL where the OOM killer could strike: any process of a probe's tree, and of the supervisor's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lab.faults import parts
from lab.faults.limits import fill, tmpfs
from lab.faults.stage import CHECKOUT, WATCHDOG, BrokenError, Fault, Stage, demand, document
from lab.real.node import Probed, children, descendants, environment

CAUSES = ("ended without an answer", "signal 9", "the trial was interrupted", "was ended by", "failed:")


def one_child(stage: Stage, chance: random.Random) -> None:
    """Any process below the command, grandchildren and the node's programs among them: the rest is judged."""
    began = time.monotonic()
    probe = stage.start()
    time.sleep(chance.uniform(0, stage.life))
    victims = descendants(probe.pid)[2:]  # nsenter, the command, and those that it made
    gatherer = False
    if victims:
        victim = chance.choice(victims)
        gatherer = may_gather(probe.pid, victim)
        kill(victim)
    expect_a_part(stage, stage.finish(probe, began), gatherer)


def may_gather(probe: int, victim: int) -> bool:
    """Whether that process of a probe is one of the command's own children, of which one gathers everything."""
    tree = descendants(probe)[:2]
    return len(tree) == 2 and victim in children(tree[1])


def expect_a_part(stage: Stage, probed: Probed, gatherer: bool) -> None:
    """Without one process there is still an honest report, which lacks at most what that process was for."""
    lost = stage.well.lost(probed.report)
    stage.hits += bool(lost)
    if gatherer and "probe-privileges" in lost:  # it says that nothing is known, and of whom
        stage.expect(probed, "unknown", cause=("the gathering process",))
        return
    part = next((part for part in parts.OF_A_CHILD if lost <= part), ())
    stage.expect(probed, "ready", "unknown", unknown=part, cause=CAUSES)


def a_probe_of_watch(stage: Stage, chance: random.Random) -> None:
    """The last report stays; the supervisor goes on, and its next probe gives a new one."""
    with watching(stage) as watch:
        first = watch.report()
        watch.ask()
        time.sleep(chance.uniform(0, stage.life))
        victims = descendants(watch.pid)[1:]
        if victims:
            kill(chance.choice(victims))
        after = watch.wait_for_round()
        demand(after["event"] in ("probed", "probe_failed"), f"logged {after}")
        if after["event"] == "probe_failed":
            demand(watch.report() == first, "the last report did not stay")
        demand(watch.next_verdict() == "ready", f"the next probe of watch: {watch.log()[-1]}")


def no_space_for_the_report_file(stage: Stage, chance: random.Random) -> None:
    """The last report stays whole, and the next one comes when there is room again."""
    with watching(stage, "size=512k") as watch:
        first = watch.report()
        others = f"{watch.directory}/others"
        fill(others)
        watch.ask()
        demand(watch.wait_for_round()["event"] == "round_failed", f"logged {watch.log()[-1]}")
        demand("No space left" in watch.log()[-1]["reason"], f"logged {watch.log()[-1]}")
        demand(watch.report() == first, "the last report did not stay")
        os.unlink(others)
        demand(watch.next_verdict() == "ready", f"the next probe of watch: {watch.log()[-1]}")


class Watch:
    """A running `watch` that probes when it is asked."""

    def __init__(self, process: subprocess.Popen[bytes], pid: int, directory: str) -> None:
        self.process = process
        self.pid = pid
        self.directory = directory
        self._seen = 0

    def log(self) -> list[dict[str, Any]]:
        """What it has logged, without a line that it still writes."""
        return [document(line) for line in Path(f"{self.directory}.log").read_text().split("\n")[:-1]]

    def expect_round(self) -> None:
        """From now on, another one."""
        self._seen = len(self._rounds())

    def ask(self) -> None:
        """Let it probe now."""
        self.expect_round()
        os.kill(self.pid, signal.SIGHUP)

    def wait_for_round(self) -> dict[str, Any]:
        """What became of the probe that it was asked for. *Errors*: BrokenError."""
        deadline = time.monotonic() + 3 * WATCHDOG  # for an interval and a probe, and as long again
        while len(self._rounds()) <= self._seen:
            demand(time.monotonic() < deadline, "watch did not probe when it was asked")
            demand(self.process.poll() is None, f"watch ended: {self.log()}")
            time.sleep(0.01)
        return self._rounds()[self._seen]

    def next_verdict(self) -> str:
        """Of a new report, now that nothing is in its way."""
        self.ask()
        self.wait_for_round()
        return str(self.report()["verdict"])

    def report(self) -> dict[str, Any]:
        """What lies there."""
        return dict(document(Path(f"{self.directory}/report.json").read_text()))

    def _rounds(self) -> list[dict[str, Any]]:
        return [entry for entry in self.log() if entry["event"] in ("probed", "probe_failed", "round_failed")]


@contextmanager
def watching(stage: Stage, space: str = "size=4m", interval: str = "24h") -> Iterator[Watch]:
    """`watch` on the node after its first probe, its report on a tmpfs of its own; it has to end well."""
    directory = stage.node.path("watch")
    os.mkdir(directory)
    options = [f"--report-file={directory}/report.json", f"--interval={interval}", f"--budget={stage.budget:g}s"]
    command = [sys.executable, "-m", "probe", "watch", *options]
    with tmpfs(directory, space), open(f"{directory}.log", "wb") as log:
        process = subprocess.Popen(
            stage.node.inside(*command), cwd=CHECKOUT, env=environment(), stderr=log, stdin=subprocess.DEVNULL
        )
        try:
            watch = Watch(process, _started(process), directory)
            watch.wait_for_round()
            yield watch
            os.kill(watch.pid, signal.SIGTERM)
            demand(process.wait(WATCHDOG) == 0, f"watch ended with {process.returncode} on SIGTERM")
        except subprocess.TimeoutExpired:
            raise BrokenError("watch did not end on SIGTERM") from None
        finally:
            for pid in reversed(descendants(process.pid)):
                kill(pid)
            process.wait()
    os.rmdir(directory)
    os.unlink(f"{directory}.log")


def _started(process: subprocess.Popen[bytes]) -> int:
    """The pid of what nsenter runs."""
    while len(tree := descendants(process.pid)) < 2:
        demand(process.poll() is None, "watch did not start")
        time.sleep(0.005)
    return tree[1]


def kill(pid: int) -> None:
    """SIGKILL, unless it has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


FAULTS = (
    Fault("SIGKILL of any child or grandchild, at any instant", 500, one_child, aim="something was missed"),
    Fault("SIGKILL of any process of a probe of `watch`", 100, a_probe_of_watch),
    Fault("directory of the report file full (ENOSPC)", 50, no_space_for_the_report_file),
)
