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
from functools import partial

from tests.faults.kills import kill
from tests.faults.stage import Fault, Stage, demand
from tests.real import kernel
from tests.real.filesystems import CATALOG
from tests.real.node import descendants

CYCLES = 30
"""How often a volume is mounted and unmounted beside probes, for one injection."""
RETRY = 0.01
"""Seconds after which NodeUnstage or whoever else tries again."""
SEEN = 0.02
"""Seconds for which a volume is mounted, or hardly a probe would meet it."""


def unmounted_beside_probes(stage: Stage, chance: random.Random) -> None:
    """Opened O_EXCL, or a retry later; without probes in the same run it takes as long."""
    with loop_device(stage) as device, volume(stage) as path:
        beside_probes(stage, chance, lambda: unmounted(device, path, chance))


def beside_probes(stage: Stage, chance: random.Random, cycle: Callable[[], int]) -> None:
    """What *cycle* returns, the retries that it took, is one at most, or no more than without probes."""
    calm = [cycle() for _ in range(CYCLES // 3)]
    with probes_in_a_loop(stage, chance):
        busy = [cycle() for _ in range(CYCLES)]
    stage.worst = max(stage.worst, RETRY * max(busy))
    demand(max(busy) <= max(1, *calm), f"busy for {busy} times {RETRY} s; without probes {calm}")


def unmounted(device: str, path: str, chance: random.Random) -> int:
    """Mount, unmount, and how many retries it took until the device was nobody's."""
    kernel.mount(device, path, "ext4")
    time.sleep(chance.uniform(0, SEEN))
    subprocess.run(["umount", path], check=True)
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
def probes_in_a_loop(stage: Stage, chance: random.Random) -> Iterator[None]:
    """One probe after another, a third of them killed at a random instant."""
    stop, problems = threading.Event(), list[str]()
    began, moment = threading.Event(), random.Random(chance.random())

    def loop() -> None:
        while not stop.is_set():
            probe = stage.start()
            began.set()
            if moment.random() < 1 / 3:
                time.sleep(moment.uniform(0, stage.life))
                kill(next(iter(descendants(probe.pid)[1:]), probe.pid))
            _, stderr = probe.communicate()
            if probe.returncode not in (0, 2, -9, 137) or stderr:
                problems.append(f"exit code {probe.returncode}, said {stderr[-300:]!r}")

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
def volume(stage: Stage) -> Iterator[str]:
    """Where a Pod has its volume."""
    with ExitStack() as stack:
        directory = f"{stage.node.root}/pods/01234567-89ab-cdef-0123-000000000001"
        path = f"{directory}/volumes/kubernetes.io~csi/pv/mount"
        os.makedirs(path)
        stack.callback(partial(subprocess.run, ["rm", "-r", directory], check=True))
        yield path


UNMOUNTED = f"{CYCLES} times: volume unmounted beside probes, then O_EXCL"
FAULTS = (
    Fault(
        "30 times: volume unmounted beside probes, then O_EXCL", 100, unmounted_beside_probes, CATALOG["ext4"].missing
    ),
)
