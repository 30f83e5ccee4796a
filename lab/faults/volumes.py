"""Volumes that are unmounted while probes look at them: their devices are free at once, as without any probe."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from lab.faults import parts
from lab.faults.kills import kill
from lab.faults.stage import BrokenError, Fault, Stage, demand
from lab.real import kernel
from lab.real.filesystems import CATALOG
from lab.real.node import descendants

CYCLES = 30
"""How often a volume is mounted and unmounted beside probes, for one injection."""
MOST = 5
"""Times as often at most, until a probe has met it."""
RETRY = 0.01
"""Seconds after which NodeUnstage or whoever else tries again."""


KILLED = (-9, 137)
VANISHING = {"filesystem-volumes": ("pass", "unknown")}
"""What is true of a volume that comes and goes."""
SLOW = parts.PROGRAMS | parts.SANDBOX
"""What is not known in time where two do as much as they can."""


@dataclass
class Volume:
    """Where a Pod has a volume, and who came by."""

    path: str
    mounted: bool = False
    met: int = 0
    """Probes that tell of it, or that were killed while it was there."""


def unmounted_beside_probes(stage: Stage, chance: random.Random) -> None:
    """Opened O_EXCL, or a retry later; without probes in the same run it takes as long."""
    with loop_device(stage) as device, volume(stage) as here:
        beside_probes(stage, chance, here, lambda seconds: unmounted(device, here, seconds))


def beside_probes(
    stage: Stage, chance: random.Random, here: Volume, cycle: Callable[[float], int], cycles: int = CYCLES
) -> None:
    """What *cycle* returns, the retries that it took, is one at most, or no more than without probes.

    It is told how long the volume is to be there: an instant, or until a whole probe may have come by.

    On a busy machine one retry is too few. What ends a file system is whoever lets go of it last: without probes that
    is umount(2), which takes tens of milliseconds there; beside an attempt, which holds it for microseconds, it may be
    the attempt, and then umount(2) returns before the end.
    """
    calm, busy = [cycle(0.0) for _ in range(cycles // 3)], list[int]()
    with probes_in_a_loop(stage, chance, here):
        while len(busy) < cycles or (not here.met and len(busy) < MOST * cycles):
            busy.append(cycle(chance.uniform(0, stage.life)))
    stage.worst = max(stage.worst, RETRY * max(busy))
    demand(max(busy) <= max(1, *calm), f"busy for {busy} times {RETRY} s; without probes {calm}")
    demand(here.met, f"no probe met the volume, {len(busy)} times: nothing is shown")


def unmounted(device: str, here: Volume, seconds: float) -> int:
    """Mount, unmount after so long, and how many retries it took until the device was nobody's."""
    kernel.mount(device, here.path, "ext4")
    here.mounted = True
    time.sleep(seconds)
    here.mounted = False
    subprocess.run(["umount", here.path], check=True)
    return retries(lambda: os.close(os.open(device, os.O_RDONLY | os.O_EXCL)))


def retries(act: Callable[[], object]) -> int:
    """How many it takes until nothing is busy any more."""
    for number in range(1000):
        try:
            act()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(RETRY)
        else:
            return number
    return 1000


@contextmanager
def probes_in_a_loop(stage: Stage, chance: random.Random, here: Volume) -> Iterator[None]:
    """One probe after another, a third of them killed at a random instant; who met the volume is counted."""
    stop, problems = threading.Event(), list[str]()
    began, moment = threading.Event(), random.Random(chance.random())

    def loop() -> None:
        while not stop.is_set():
            start, probe = time.monotonic(), stage.start()
            began.set()
            while_there = False
            if moment.random() < 1 / 3:
                time.sleep(moment.uniform(0, stage.life))
                while_there = here.mounted and probe.poll() is None
                kill(next(iter(descendants(probe.pid)[1:]), probe.pid))
            try:
                probed = stage.finish(probe, start)
                if probed.code in KILLED:
                    demand(not probed.stderr, f"said {probed.stderr[-300:]!r} on stderr")
                    here.met += while_there
                else:
                    here.met += bool(probed.rows("volume"))
                    stage.expect(probed, "ready", "unknown", unknown=SLOW, cause=("in time",), right=VANISHING)
            except (BrokenError, ValueError) as problem:
                problems.append(str(problem))

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        began.wait()
        yield
    finally:
        stop.set()
        thread.join()
    demand(not problems, f"probes beside it: {problems}")


@contextmanager
def loop_device(stage: Stage) -> Iterator[str]:
    """One with an ext4."""
    image = stage.node.path("image")
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    command = ["losetup", "--find", "--show", image]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        os.unlink(image)


@contextmanager
def volume(stage: Stage) -> Iterator[Volume]:
    """Where a Pod has its volume."""
    with ExitStack() as stack:
        directory = f"{stage.node.root}/pods/01234567-89ab-cdef-0123-000000000001"
        path = f"{directory}/volumes/kubernetes.io~csi/pv/mount"
        os.makedirs(path)
        stack.callback(partial(subprocess.run, ["rm", "-r", directory], check=True))
        yield Volume(path)


UNMOUNTED = f"{CYCLES} times: volume unmounted beside probes, then O_EXCL"
FAULTS = (Fault(UNMOUNTED, 100, unmounted_beside_probes, CATALOG["ext4"].missing),)
