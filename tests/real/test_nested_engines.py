"""podman and buildah of Debian, in Pods that a real containerd made with a user namespace: prediction is fate.

Each Pod builds an image of two layers from local files, the second by a container of the build, and runs it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from lab.prerequisites import require
from lab.real import engines, packages, pods
from lab.real.engines import Ask
from lab.real.node import Node
from probe.nested import PodRequest

pytestmark = pytest.mark.real

WORKS = "first second"
WRITABLE = """
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.writable]
  runtime_type = "io.containerd.runc.v2"
  cgroup_writable = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.writable.options]
    BinaryName = "{crun}"
"""


CGROUP_V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
"""On cgroup v1, containerd refuses a configuration with a writable cgroup."""


@pytest.fixture(scope="module")
def node(bare_node: Callable[..., AbstractContextManager[Node]]) -> Iterator[Node]:
    """A node with containerd, runc, a kubelet, and the image of the engines."""
    require(pods.can_run_pods(), "a pause program for this machine")
    require(all(os.path.exists(program) for program, _ in engines.MAPPERS.values()), "newuidmap")
    containerd = packages.containerd()
    handlers = {"runc": packages.runtime("runc", (1, 2)).path}
    more = WRITABLE.format(crun=packages.runtime("crun", (1, 9)).path) if CGROUP_V2 else ""
    with bare_node() as made, pods.pod_runtime(made, containerd, handlers, more=more) as made.endpoint, made.kubelet():
        archive = made.path("engines.tar")
        engines.write_image(archive)
        ctr = (containerd.beside("ctr"), "--address", made.endpoint, "--namespace", "k8s.io", "images", "import")
        subprocess.run(made.inside(*ctr, "--local", archive), check=True, capture_output=True)
        yield made


@pytest.fixture(scope="module")
def levels(node: Node) -> dict[str, Any]:
    """What the probe says of the levels on that node."""
    return dict(node.probe("-o", "json").report["nested"]["levels"])


def asked(level: dict[str, Any]) -> Ask:
    """The Pod that asks for all that a level needs."""
    requests = [PodRequest(**one) for one in level["pod"]]
    return Ask(
        capabilities=tuple(one.value for one in requests if one.field == "capability"),
        unmasked=any(one.field == "proc-mount" for one in requests),
    )


def test_a_builder_as_the_pods_root(node: Node, levels: dict[str, Any]) -> None:
    """`build` is ready, and with what it asks for buildah and podman work; masks over /proc are no matter."""
    assert levels["build"]["verdict"] == "ready", levels["build"]
    ask = asked(levels["build"])
    assert ask == Ask(capabilities=("SYS_ADMIN",))
    assert engines.run_engine(node, 1, ask, *packages.engines()) == WORKS


def test_a_builder_that_asks_for_less(node: Node) -> None:
    """Without SYS_ADMIN it fails, so the level asks for nothing in vain."""
    assert engines.run_engine(node, 2, Ask(), *packages.engines()) != WORKS


def rootless(levels: dict[str, Any]) -> Ask:
    """The Pod that asks for all that `rootless` needs, and runs as another user."""
    assert levels["rootless"]["verdict"] == "ready", levels["rootless"]
    return replace(asked(levels["rootless"]), user=engines.USER)


def test_a_rootless_engine(node: Node, levels: dict[str, Any]) -> None:
    """`rootless` is ready, and with what it asks for buildah and podman work as UID 1000 in a second user namespace."""
    ask = rootless(levels)
    assert ask == Ask(capabilities=("SETUID", "SETGID"), user=engines.USER, unmasked=True)
    assert "newuidmap=cap_setuid" in [one["value"] for one in levels["rootless"]["pod"]]
    assert engines.run_engine(node, 3, ask, *packages.engines()) == WORKS


@pytest.mark.parametrize("more", [(), ("SYS_ADMIN",)], ids=["as asked", "with SYS_ADMIN"])
def test_a_rootless_engine_without_file_capabilities(node: Node, levels: dict[str, Any], more: tuple[str, ...]) -> None:
    """newuidmap setuid root fails in the Pod that the level asks for, and needs SYS_ADMIN."""
    ask = rootless(levels)
    ask = replace(ask, capabilities=(*ask.capabilities, *more))
    fate = engines.run_engine(node, 6 + len(more), ask, *packages.engines(), engines.SETUID)
    assert (fate == WORKS) == bool(more), fate
    assert more or "newuidmap" in fate


def test_a_rootless_engine_behind_masks(node: Node, levels: dict[str, Any]) -> None:
    """With procMount: Default it fails where the probe says that Unmasked is needed, and works where it does not."""
    ask = rootless(levels)
    fate = engines.run_engine(node, 4, replace(ask, unmasked=False), *packages.engines())
    assert (fate == WORKS) == (not ask.unmasked), fate


def test_systemd_as_process_1(node: Node) -> None:
    """systemd starts its target where `system` is ready, with a handler that gives the cgroup, and nowhere else."""
    handlers = {one["name"]: one for one in node.probe("-o", "json").report["nested"]["handlers"]}
    handler = handlers["writable" if CGROUP_V2 else ""]
    ask = Ask(capabilities=("SYS_ADMIN", "NET_ADMIN"))
    fate = engines.run_systemd(node, 5, ask, packages.systemd(), handler["name"])
    assert (fate in engines.BOOTED) == (handler["levels"]["system"] == "ready"), (handler, fate)
