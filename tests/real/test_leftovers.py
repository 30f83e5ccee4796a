"""However a probe ends, the node is what it was before."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.conftest import require
from tests.real import kernel
from tests.real.conftest import wait_for
from tests.real.filesystems import CATALOG
from tests.real.leftovers import campaign, interrupted, look, settled
from tests.real.node import Node, descendants

pytestmark = pytest.mark.real

SEED = int(os.environ.get("USERNS_PROBE_SEED", "1"))
KILLED = 40
INTERRUPTED = 6


def test_a_whole_probe_leaves_nothing(node: Node) -> None:
    """Nor does it load a kernel module."""
    with node.kubelet():
        before = look(node)
        assert node.probe().code == 0
        assert node.probe("path", node.root).code == 0
        assert settled(node, before) == {}


def test_kill_9_leaves_nothing(node: Node) -> None:
    """At a random instant, the command or one of its children."""
    with node.kubelet():
        assert campaign(node, KILLED, SEED) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_in_good_order(node: Node, number: signal.Signals, code: int) -> None:
    """At any instant of the gathering, with its own exit code, no traceback, and nothing left."""
    chance = random.Random(SEED)

    def interrupt(tree: list[int]) -> None:
        wait_for(lambda: len(descendants(tree[0])) > 1)
        time.sleep(chance.uniform(0, 0.15))
        for pid in descendants(tree[0]) if number == signal.SIGINT else tree:  # a terminal sends Ctrl-C to all
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    with node.kubelet():
        before = look(node)
        for _ in range(INTERRUPTED):
            ended, stdout, stderr = interrupted(node, 0, interrupt)
            assert (ended, stdout) == (code, ""), stderr
            assert stderr.count("\n") <= 1
            assert settled(node, before) == {}


@contextmanager
def probes_in_a_loop(node: Node) -> Iterator[Callable[[], int]]:
    """Yields how many have ended until now."""
    stop, codes = threading.Event(), list[int]()

    def loop() -> None:
        while not stop.is_set():
            codes.append(node.start_probe("-o", "json", stdout=subprocess.DEVNULL).wait())

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield lambda: len(codes)
    finally:
        stop.set()
        thread.join()
    assert set(codes) <= {0}


def test_a_volume_can_be_unmounted_at_any_time(node: Node) -> None:
    """Probes in a loop never hold its device: it can be had for oneself at once, or ten milliseconds later."""
    require(not CATALOG["ext4"].missing(), CATALOG["ext4"].missing())
    image = node.path("image")
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    device = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    loop = device.stdout.strip()
    try:
        with node.kubelet():
            volume = f"{node.root}/pods/01234567-89ab-cdef-0123-456789abcdef/volumes/kubernetes.io~csi/pv/mount"
            os.makedirs(volume)
            with probes_in_a_loop(node) as done:
                wait_for(done)
                waits = []
                for _ in range(60):
                    kernel.mount(loop, volume, "ext4")
                    time.sleep(0.02)  # or no probe would ever see it
                    subprocess.run(["umount", volume], check=True)
                    waits.append(_times_busy(loop))
        assert max(waits) <= 1, waits
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


def _times_busy(device: str) -> int:
    """How often ten milliseconds had to pass before the device was nobody's."""
    for number in range(100):
        try:
            os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.01)
        else:
            return number
    return 100
