"""What the rest of the machine hears of a probe: no module, no device, hardly a line in the kernel's log."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lab.faults.stage import Fault, Stage, demand

NETLINK_KOBJECT_UEVENT = 15
LINES = 1
"""Of the kernel's log, for a probe."""


def nothing_is_heard(stage: Stage, chance: random.Random) -> None:
    """No module, no uevent that something came or went, no more than a line in the log; with all trials."""
    before = set(os.listdir("/sys/module"))
    with uevents() as events, kernel_log() as lines:
        stage.expect(stage.probe("--try-runtime"), "ready", unknown=(), right={"runtime-trial": {"pass"}})
        heard, logged = list(events()), list(lines())
    demand(not heard, f"uevents: {heard}")
    demand(len(logged) <= LINES, f"{len(logged)} lines in the kernel's log: {logged}")
    demand(set(os.listdir("/sys/module")) == before, f"modules: {set(os.listdir('/sys/module')) ^ before}")


def several_at_once(stage: Stage, chance: random.Random) -> None:
    """A DaemonSet that is rolled out, an administrator and a cron job: none of them stands in another's way."""
    began = time.monotonic()
    budget = 3 * stage.budget  # they share two processors
    probes = [stage.start(budget=budget) for _ in range(chance.randint(2, 8))]
    for probed in [stage.finish(probe, began, budget) for probe in probes]:
        stage.expect(probed, "ready", unknown=())


@contextmanager
def uevents() -> Iterator[Callable[[], Iterator[str]]]:
    """What tells which devices and modules came or went since; what only changed, as batteries do, is nobody's."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        listener.bind((0, 1))
        listener.setblocking(False)

        def heard() -> Iterator[str]:
            with suppress(BlockingIOError):
                while message := listener.recv(1 << 16):
                    event = message.split(b"\0")[0].decode(errors="replace")
                    if not event.startswith("change@"):
                        yield event

        list(heard())
        yield heard


@contextmanager
def kernel_log() -> Iterator[Callable[[], Iterator[str]]]:
    """What the kernel itself has logged since."""
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)

    def lines() -> Iterator[str]:
        with suppress(BlockingIOError):
            while True:
                record = os.read(log, 1 << 13).decode(errors="replace")
                if int(record.split(",")[0]) >> 3 == 0:  # its own facility: LOG_KERN
                    yield record.partition(";")[2].split("\n")[0]

    try:
        os.lseek(log, 0, os.SEEK_END)
        yield lines
    finally:
        os.close(log)


FAULTS = (
    Fault("module, uevent or kernel log lines of a probe", 100, nothing_is_heard),
    Fault("several probes at once", 50, several_at_once),
)
