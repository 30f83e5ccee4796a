"""A real containerd whose surroundings are broken one at a time: the whole command names the reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from glob import glob
from typing import Any

import pytest

from lab.real import packages
from lab.real.node import Node, Probed

pytestmark = pytest.mark.real

GetRuntime = Callable[..., packages.Runtime]
Start = Callable[..., AbstractContextManager[Node]]

# As real Pods with runc 1.3.6, crun 1.28 and containerd 2.1.9 on Linux 6.18 did.
SHELL = ("sh", "-c")
STARTS: dict[str, tuple[tuple[str, ...], str]] = {
    "umask 027": ((*SHELL, 'umask 027; exec "$@"', "sh"), "StateNotSearchable"),
    "TMPDIR": (("env", "TMPDIR=/nowhere"), "TemporaryDirectoryUnusable"),
    "four processes": (("prlimit", "--nproc=4"), "ProcessLimitTooSmall"),
}
COPIED_DEVICES = "mount -t tmpfs node /mnt && cp -a /dev/null /dev/zero /dev/random /dev/urandom /dev/tty /mnt && "


@pytest.fixture
def start(bare_node: Start, containerd: packages.Runtime, runtime: GetRuntime) -> Start:
    """A node with kubelet and containerd; the keywords are those of `Node.containerd`."""
    handlers = {"runc": runtime("runc", (1, 2)).path, "crun": runtime("crun", (1, 9)).path}

    @contextmanager
    def started(**options: Any) -> Iterator[Node]:
        with bare_node() as node, node.containerd(containerd, handlers, **options) as node.endpoint, node.kubelet():
            yield node

    return started


def handlers_of(probed: Probed) -> dict[str, str]:
    """The verdict of each handler."""
    return {each["name"]: each["verdict"] for each in probed.report["handlers"]}


def test_a_usual_daemon_is_ready(start: Start) -> None:
    """The control of all others."""
    with start() as node:
        assert node.probe().verdict == (0, "ready", "")


def test_a_state_directory_private_to_root(start: Start) -> None:
    """runc's Pods fail and crun's run."""
    with start() as node:
        (state,) = glob(f"{node.directory}/containerd-*/state")
        os.chmod(state, 0o700)
        probed = node.probe()
    assert probed.verdict == (1, "not-ready", "StateNotSearchable"), probed.stdout
    assert handlers_of(probed) == {"": "not-ready", "runc": "not-ready", "crun": "ready"}


@pytest.mark.parametrize("name", STARTS)
def test_how_the_daemon_was_started(name: str, start: Start) -> None:
    """Its umask, its environment, its limits."""
    wrapper, reason = STARTS[name]
    with start(wrapper=wrapper) as node:
        probed = node.probe()
    found = {each["reason"] for each in probed.report["findings"] if each["status"] == "fail"}
    assert probed.report["verdict"] == "not-ready"
    assert reason in found


def test_a_device_that_is_missing(start: Start) -> None:
    """Both OCI runtimes bind it from the node."""
    with start() as node:
        node.run("sh", "-c", f"{COPIED_DEVICES} mount --bind /mnt /dev")
        probed = node.probe()
    assert probed.verdict == (1, "not-ready", "DeviceMissing"), probed.stdout
    assert set(handlers_of(probed).values()) == {"not-ready"}
