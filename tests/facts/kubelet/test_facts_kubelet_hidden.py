"""Kubelets that run and cannot be read: it is never said that none runs."""

from __future__ import annotations

import pytest

from lab.fake_host import FakeHost
from probe.facts.kubelet.facts import gather_kubelet

NAME = "8a1b2c3d4e5f60718293a4b5c6d7e8f90123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("name", "argv", "cgroup", "word"),
    [
        ("kubesolo", ("/usr/local/bin/kubesolo",), "/system.slice/kubesolo.service", "KubeSolo"),
        ("kubelet", ("kubelet",), f"/machine.slice/libpod-{NAME}.scope/container", "podman or docker"),
        ("kubelet", ("kubelet",), f"/system.slice/kubelet.service/libpod-payload-{NAME}", "podman or docker"),
        ("kubelet", ("kubelet",), f"/system.slice/docker-{NAME}.scope", "podman or docker"),
        ("kubelet", ("kubelet",), f"/docker/{NAME}", "podman or docker"),
    ],
)
def test_it_is_named(name: str, argv: tuple[str, ...], cgroup: str, word: str) -> None:
    """A kubelet inside of another program, or in a container without the privileges of the node's own."""
    host = FakeHost()
    host.add_process(4200, *argv, name=name, cgroup=f"0::{cgroup}\n", capabilities=0xA80425FB)
    found = gather_kubelet(host)
    assert found.kind == "not-readable"
    assert word in found.problem


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"cgroup": f"0::/docker/{NAME}/kubelet.slice/kubelet.service\n", "nspid": "4200 310"}, "kind"),
        ({"cgroup": "0::/lxc.payload.node/system.slice/kubelet.service\n", "nspid": "4200 310"}, "LXC"),
        ({"cgroup": "0::/user.slice/x.service\n", "uid": 1000, "user_namespace": "user:[4026532000]"}, "rootless"),
        ({"cgroup": "0::/user.slice/k3s.service\n", "name": "k3s-server", "uid": 1000, "nspid": "9 2"}, "k3d"),
    ],
)
def test_a_kubelet_of_another_node_on_this_machine(changes: dict[str, object], word: str) -> None:
    """On a machine that runs nodes in containers none is its own, and it is not said that there is none."""
    host = FakeHost()
    host.add_process(4200, "kubelet", **changes)  # type: ignore[arg-type]
    found = gather_kubelet(host)
    assert found.kind == "not-readable"
    assert word in found.problem


@pytest.mark.parametrize(
    "changes",
    [
        {"cgroup": f"0::/kubepods.slice/docker-{NAME}.scope\n"},
        {"cgroup": f"0::/kubepods/pod6c1e0b7e-0000-4000-8000-000000000000/docker/{NAME}\n"},
        {"cgroup": f"0::/docker/{NAME}\n", "uid": 1000},
        {"cgroup": f"0::/kubepods/x/{NAME}\n", "nspid": "4200 1"},
        {"cgroup": f"0::/kubepods/x/{NAME}\n", "user_namespace": "user:[4026532000]"},
        {"cgroup": "0::/kubepods.slice/x\n", "name": "kubesolo"},
    ],
)
def test_an_imitation_is_none(changes: dict[str, object]) -> None:
    """What belongs to a Pod, to another user or to other namespaces is no kubelet of this node."""
    host = FakeHost()
    host.add_process(4200, "kubelet", **changes)  # type: ignore[arg-type]
    assert gather_kubelet(host).kind == "absent"
