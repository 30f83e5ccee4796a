"""Faults that this machine's own kernel is not asked for, in a guest: its clock is set, its volumes are removed.

`campaign` boots the guest; run as a program, in it, this injects the faults and prints a row of JSON for each kind.
"""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from lab.faults import modules, namespaces, parts
from lab.faults.campaign import Progress, Row, times
from lab.faults.changes import during
from lab.faults.kills import watching
from lab.faults.stage import Fault, Stage, demand, make_stage, run_fault
from lab.faults.volumes import beside_probes, loop_device, retries, unmounted, volume
from lab.kernels import image, machine, packages, wide
from lab.kernels.inside import Job
from lab.real.debian import Broken, Unavailable
from lab.real.node import make_workspace

SERIES = "6.12"
BUDGET = 60.0
"""Seconds of a probe: an emulated processor takes a multiple of the time."""
TRIES = 6
"""Probes for the same reason: a program of the node has two seconds, however slow the machine."""
NESTED = frozenset(("build", "inner-userns", "rootless"))
"""Levels of nested containers that are ready there when their trial ends in time, which it does not always."""
TIMEOUT = 600.0
"""Seconds for each injection, and before the first: volumes stay for up to a probe's life, which is long there."""
CYCLES = 6
"""How often a volume is mounted and unmounted beside probes, for one injection; each may take as long as a probe."""
DMSETUP = Path(wide.DAEMONS, "dmsetup")

_DAY = 24 * 3600
_JUMPS = (-365 * _DAY, -_DAY, -3600, -5, 5, 3600, _DAY, 20 * 365 * _DAY)  # seconds
_BY_AGE = {
    *("kubelet-configuration-pending", "kubelet-gate-restart", "runtime-oci-features", "runtime-snapshotter"),
    *("ids-range", "ids-restart-forecast", "ids-slots", "kubelet-cgroup-v1"),
}
"""Checks that hold the times of files against those of processes: a file from the future counts as changed."""


def clock_is_set(stage: Stage, chance: random.Random) -> None:
    """In the middle of a probe, forwards or backwards, by seconds or years."""
    jump = chance.choice(_JUMPS)
    try:
        during(
            stage,
            chance,
            partial(set_clock, jump),
            cause=("after the kubelet started", "changed", "in time"),
            unknown=parts.PROGRAMS | _BY_AGE,
            right={check: {"warn"} for check in _BY_AGE},
        )
    finally:
        set_clock(-jump)


def clock_of_watch_is_set(stage: Stage, chance: random.Random) -> None:
    """While it waits: its next probe comes when the interval is over, whatever the clock says."""
    jump = chance.choice(_JUMPS)
    with watching(stage, interval="60s") as watch:
        try:
            watch.expect_round()
            set_clock(jump)
            demand(watch.wait_for_round()["event"] == "probed", f"logged {watch.log()[-1]}")
            # In an emulated machine a program of the node may not answer in time, whatever the clock says.
            demand(watch.report()["verdict"] in ("ready", "unknown"), f"reported {watch.report()['reason']}")
        finally:
            set_clock(-jump)


def set_clock(seconds: float) -> None:
    """Forwards, or backwards when negative."""
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)


def removed_beside_probes(stage: Stage, chance: random.Random) -> None:
    """`dmsetup create`, mount, unmount, O_EXCL, `dmsetup remove`, beside probes: each at once, or a retry later."""
    with loop_device(stage) as device, volume(stage) as here:
        with open(f"/sys/class/block/{os.path.basename(device)}/size") as size:
            sectors = int(size.read())

        def cycle(seconds: float) -> int:
            dmsetup("create", "fault", "--table", f"0 {sectors} linear {device} 0")
            waited = unmounted("/dev/mapper/fault", here, seconds)
            return max(waited, retries(lambda: dmsetup("remove", "fault")))

        beside_probes(stage, chance, here, cycle, CYCLES)


def dmsetup(*arguments: str) -> None:
    """Debian's own. *Errors*: OSError with EBUSY; what else goes wrong ends the guest."""
    command = [*wide.by_loader(DMSETUP, DMSETUP / "sbin/dmsetup"), *arguments]
    done = subprocess.run(command, env={"DM_DISABLE_UDEV": "1"}, capture_output=True, text=True, check=False)
    if "busy" in done.stderr:
        raise OSError(errno.EBUSY, done.stderr)
    done.check_returncode()


NODE = (
    Fault("clock set during the probe, in a guest", 50, clock_is_set),
    Fault("clock set while `watch` waits, in a guest", 10, clock_of_watch_is_set),
    Fault("limit of namespaces reached, or 0, in a guest", 40, namespaces.limit_is_reached),
)
DEVICES = (Fault(f"{CYCLES} times: dmsetup remove beside probes, in a guest", 20, removed_beside_probes),)
MODULES = (Fault("modules requested by a probe, in a guest", 20, modules.no_module_is_requested),)
KINDS = {"node": NODE, "devices": DEVICES, "modules": MODULES}


def campaign(kinds: Sequence[str], seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """The rows of these KINDS, on one node in one guest."""
    names = [fault.name for fault in _faults(kinds)]
    progress(f"booting Linux {SERIES} for {', '.join(names)}")
    yield from or_why_not(names, partial(_boot, kinds, seed, scale))


def _faults(kinds: Sequence[str]) -> list[Fault]:
    return [fault for kind in kinds for fault in KINDS[kind]]


def or_why_not(names: Sequence[str], boot: Callable[[], Sequence[Row]]) -> Sequence[Row]:
    """The rows of a guest, or for each name one that says why there was none."""
    try:
        return boot()
    except Unavailable as problem:
        return [Row(f"{name} (not run: {problem})", 0, 0, 0.0, 0) for name in names]
    except (Broken, machine.GuestError) as problem:
        return [Row(name, 1, 0, 0.0, 0, (f"the guest failed: {problem}",)) for name in names]


def _boot(kinds: Sequence[str], seed: int, scale: float) -> list[Row]:
    count = sum(times(fault.whole, scale) for fault in _faults(kinds))
    outcome = machine.boot(
        packages.kernel(SERIES),
        [*image.images("losetup", "prlimit"), wide.daemons(["dmsetup"])],
        wide.inside(Job(image.runtimes(), ()), ",".join(kinds), str(seed), str(scale), module="lab.faults.guest"),
        modules=("ext4", "overlay", "loop", "dm-mod"),
        memory=wide.MEMORY,
        timeout=TIMEOUT * (1 + count),
    )
    if outcome.code:
        raise machine.GuestError(f"exit code {outcome.code}\n{outcome.console[-machine.TAIL :]}")
    return [Row(**row | {"problems": tuple(row["problems"])}) for row in outcome.documents]


def main(job: Job, kinds: Sequence[str], seed: int, scale: float) -> None:
    """In the guest."""
    os.makedirs("/opt", exist_ok=True)
    runtimes = {"runc": job.runtimes["runc"], "containerd": job.runtimes["containerd"]}
    with make_workspace() as workspace, make_stage(workspace, **runtimes, budget=BUDGET, tries=TRIES) as stage:
        stage.well = replace(stage.well, nested=stage.well.nested | NESTED)
        for fault in _faults(kinds):
            row = run_fault(stage, fault, seed, scale, lambda words: None)
            sys.stdout.write(json.dumps(asdict(row)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Job.decode(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3]), float(sys.argv[4]))
