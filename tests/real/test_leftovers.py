"""However a probe ends, the node is what it was before. What SIGKILL leaves: lab/faults/harm.py."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from contextlib import suppress

import pytest

from lab.real import leftovers
from lab.real.leftovers import differences, interrupted, look, settled
from lab.real.node import Node, descendants
from lab.waiting import wait_for

pytestmark = [pytest.mark.real, pytest.mark.whole_machine]

SEED = int(os.environ.get("USERNS_PROBE_SEED", "1"))
INTERRUPTED = 6


def test_a_whole_probe_leaves_nothing(node: Node) -> None:
    """Nor does it load a kernel module."""
    with node.kubelet():
        before = look(node)
        assert node.probe().code == 0
        assert node.probe("path", node.root).code == 0
        assert settled(node, before) == {}


def test_a_connection_that_nobody_ends_is_noticed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs the runtime a descriptor, which no list of mounts or processes shows."""
    monkeypatch.setattr(leftovers, "_TIMEOUT", 0.5)
    before = look(node)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(node.endpoint)
        wait_for(lambda: differences(node, before, look(node)))  # it is connected before the daemon accepts it
        assert set(settled(node, before)) == {"descriptors of daemons"}
    monkeypatch.undo()
    assert settled(node, before) == {}


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
