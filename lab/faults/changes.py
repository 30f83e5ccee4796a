"""What changes under the probe's hands: daemons restart, programs are replaced, mounts come and go, clocks jump."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

from lab.faults import parts
from lab.faults.cgroups import freezer, no_cgroup
from lab.faults.stage import Fault, Stage, demand
from lab.real.node import CHECKOUT, environment
from lab.real.programs import write_program

_OF_THE_KUBELET = (
    *("kubelet-configuration-pending", "kubelet-gate-restart", "kubelet-cgroup-v1"),
    *("ids-range", "ids-restart-forecast", "ids-slots"),
)
"""Checks that have no question where no kubelet runs."""
_A_YEAR = 366 * 24 * 3600
_PAUSES = "b8220000000f05ebf7"  # pause() for ever


def kubelet_restarts(stage: Stage, chance: random.Random) -> None:
    """It is killed in the middle of a probe, and started again at once or a little later."""

    def change() -> None:
        stage.stop_kubelet()
        time.sleep(chance.choice((0.0, 0.1, 1.0)))
        stage.start_kubelet()

    right = {key: {"skipped"} for key in _OF_THE_KUBELET}
    during(stage, chance, change, cause=("kubelet", "process"), unknown=parts.KUBELET, right=right)


def runtime_restarts(stage: Stage, chance: random.Random) -> None:
    """The same for the container runtime, on the same socket."""

    def change() -> None:
        stage.stop_runtime()
        time.sleep(chance.choice((0.0, 0.1, 1.0)))
        stage.start_runtime()

    # What is tried is tried in its mount namespace, which may be gone with it.
    lost = parts.RUNTIME | parts.SANDBOX | parts.ATTEMPTS - {"kernel-user-namespaces"}
    during(stage, chance, change, cause=("CRI", "No such file", "no answer", "No such process"), unknown=lost)


def runtime_is_replaced(stage: Stage, chance: random.Random) -> None:
    """Upgrades of the OCI runtime while it is asked: it is absent, half a file, one that hangs, and back again."""
    with other_program(stage) as other:

        def change() -> None:
            for _ in range(chance.randint(10, 40)):  # as long as a probe, or few would meet one
                deed = chance.choice(("absent", "half", "hangs"))
                with suppress(FileNotFoundError):
                    os.unlink(other)
                if deed == "half":
                    with open(stage.runc, "rb") as whole, open(other, "wb") as half:
                        half.write(whole.read(1 << 20))
                    os.chmod(other, 0o755)
                elif deed == "hangs":
                    write_program(other, _PAUSES)
                stage.choose_runc(other)
                time.sleep(chance.uniform(0, 0.05))
                stage.choose_runc(stage.runc)
                time.sleep(chance.uniform(0, 0.05))

        right = {
            "runtime-oci-features": {"warn"},
            "runtime-user-namespaces": {"fail"},
        }  # while it is gone, no Pod starts
        verdicts = ("ready", "unknown", "not-ready")
        during(stage, chance, change, cause=("runc",), unknown=parts.OCI_RUNTIME, right=right, verdicts=verdicts)


def mounts_come_and_go(stage: Stage, chance: random.Random, count: int = 50) -> None:
    """Volumes of two kinds in the same places in turn: what cannot be mapped is never taken for what can."""
    with mounter(stage, count, chance.randrange(10**6)):
        probed = stage.probe()
    stage.expect(probed, "ready", right={"filesystem-volumes": {"fail", "pass"}}, unknown={"filesystem-volumes"})
    stage.hits += any(row["result"] == "unknown" for row in probed.rows("volume"))
    told = {(row["fstype"], row["result"]) for row in probed.rows("volume")}
    demand(not told & {("ramfs", "supported"), ("tmpfs", "refused")}, f"one was taken for another: {told}")


def many_mounts_come_and_go(stage: Stage, chance: random.Random) -> None:
    """As on the largest of nodes."""
    mounts_come_and_go(stage, chance, 5000)


def clocks_are_elsewhere(stage: Stage, chance: random.Random) -> None:
    """A time namespace: the clocks that count from boot are seconds or years from where the kernel's are."""
    before = int(time.clock_gettime(time.CLOCK_BOOTTIME))
    offsets = [str(chance.choice((-before + 5, -60, 60, 3600, _A_YEAR, 100 * _A_YEAR))) for _ in range(2)]
    wrapper = ("unshare", "--time", "--fork", "--monotonic", offsets[0], "--boottime", offsets[1], "--")
    stage.expect(stage.probe(wrapper=wrapper), "ready", unknown=())


def everything_stands_still(stage: Stage, chance: random.Random) -> None:
    """The whole tree stops at a random instant, as in a machine that is paused: for it, all clocks jump forward."""
    budget = chance.choice((1.0, stage.budget))
    with freezer(stage) as (wrapper, freeze):

        def change() -> None:
            freeze(True)
            time.sleep(chance.uniform(0.5, 3.0))
            freeze(False)

        late = ("no answer within", "did not answer within", "timed out", "answer in time", "ran out")
        lost = None if budget < stage.budget else parts.PROGRAMS | parts.SANDBOX | parts.ATTEMPTS
        during(stage, chance, change, cause=late, unknown=lost, budget=budget, wrapper=wrapper)


def during(
    stage: Stage,
    chance: random.Random,
    change: Callable[[], None],
    *,
    cause: Collection[str],
    unknown: Collection[str] | None,
    right: Mapping[str, Collection[str]] | None = None,
    budget: float | None = None,
    wrapper: tuple[str, ...] = (),
    verdicts: Collection[str] = ("ready", "unknown"),
) -> None:
    """One probe, and a change at a random instant of its life."""
    began = time.monotonic()
    probe = stage.start(budget=budget, wrapper=wrapper)
    time.sleep(chance.uniform(0, stage.life))
    change()
    probed = stage.finish(probe, began, budget)
    stage.hits += bool(stage.well.lost(probed.report))
    stage.expect(probed, *verdicts, cause=cause, unknown=unknown, right=right or {})


@contextmanager
def other_program(stage: Stage) -> Iterator[str]:
    """A place for a program that can stand for the node's OCI runtime, which is itself again afterwards."""
    other = stage.node.path("other-runc")
    try:
        yield other
    finally:
        stage.choose_runc(stage.runc)
        with suppress(FileNotFoundError):
            os.unlink(other)


@contextmanager
def mounter(stage: Stage, count: int, seed: int) -> Iterator[None]:
    """A process of the node that mounts and unmounts so many volumes without end; it tidies up when it is told."""
    command = [sys.executable, "-m", "lab.faults.mounter", stage.node.root, str(count), str(seed)]
    process = subprocess.Popen(
        stage.node.inside(*command), cwd=CHECKOUT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline(), "the mounts were not made"
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


_TOLD = "the probe was struck by it"
FAULTS = (
    Fault("kubelet restarts during the probe", 100, kubelet_restarts, aim=_TOLD),
    Fault("container runtime restarts during the probe", 100, runtime_restarts, aim=_TOLD),
    Fault("OCI runtime replaced while it is asked", 100, runtime_is_replaced, aim=_TOLD),
    Fault("volumes vanish between listing and trying", 100, mounts_come_and_go, aim=_TOLD),
    Fault("5,000 mounts coming and going", 50, many_mounts_come_and_go, aim=_TOLD),
    Fault("clocks of boot somewhere else (time namespace)", 50, clocks_are_elsewhere),
    Fault("the whole probe paused: clocks jump forward", 100, everything_stands_still, no_cgroup("freezer"), aim=_TOLD),
)
