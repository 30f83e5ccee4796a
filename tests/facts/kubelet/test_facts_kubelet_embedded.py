"""Kubelets inside of other programs and of containers of the node: found, and read as far as anything tells them."""

from __future__ import annotations

import errno

import pytest

from lab.fake_host import FakeHost
from lab.samples import HEADER
from probe.facts.kubelet.embedded import parse_ocp_version
from probe.facts.kubelet.facts import gather_kubelet
from probe.facts.kubelet.files import MICROSHIFT_CONFIG
from probe.facts.kubelet.k3s_above import arguments_above, parse_started
from probe.facts.model import KubeletFacts
from probe.host.host import Process

NAME = "8a1b2c3d4e5f60718293a4b5c6d7e8f90123456789abcdef0123456789abcdef"
EDGECORE = """
apiVersion: edgecore.config.kubeedge.io/v1alpha2
kind: EdgeCore
modules:
  edged:
    enable: true
    tailoredKubeletFlag:
      rootDirectory: /var/lib/edged
    tailoredKubeletConfig:
      containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
      maxPods: 50
      featureGates:
        UserNamespacesSupport: false
"""


def facts(host: FakeHost) -> KubeletFacts:
    reading = gather_kubelet(host)
    assert reading.value is not None, reading
    return reading.value


def microshift(version: str | None = "MicroShift Version: 4.20.1\nBase OCP Version: 4.20.0\n") -> FakeHost:
    """MicroShift as process 42, which wrote its kubelet's file half a minute after its start."""
    host = FakeHost(files={MICROSHIFT_CONFIG: HEADER + "maxPods: 250\ncgroupDriver: systemd\n"})
    host.modified[MICROSHIFT_CONFIG] = 1030.0
    host.add_process(42, "/usr/bin/microshift", "run", cgroup="0::/system.slice/microshift.service\n")
    if version is not None:
        host.commands["/usr/bin/microshift version"] = version
    return host


def test_microshift() -> None:
    """Its file, its socket, its unit, and the Kubernetes of its OpenShift."""
    found = facts(microshift())
    assert (found.distribution, found.version.value, found.gate.value) == ("microshift", "1.33", True)
    assert (found.endpoint.value, found.max_pods.value) == ("/var/run/crio/crio.sock", 250)
    assert (found.unit.value, found.root_dir.value) == ("microshift.service", "/var/lib/kubelet")
    assert [file.newer for file in found.files.value or ()] == [False]


def test_microshift_that_tells_no_version() -> None:
    """All else is known all the same; nothing is guessed."""
    for version in (None, "", "MicroShift Version: 4.20.1\n"):
        found = facts(microshift(version))
        assert (found.version.value, found.gate.value, found.max_pods.value) == (None, None, 250)


@pytest.mark.parametrize(
    ("text", "version"), [("Base OCP Version: 4.12.3", "1.25"), ("x\nBase OCP Version: 4.9.0\n", "1.22")]
)
def test_kubernetes_of_openshift(text: str, version: str) -> None:
    """The minor versions differ by thirteen."""
    assert parse_ocp_version(text) == version
    for other in ("", "4.12.3", "Base OCP Version: 5.1.0"):
        with pytest.raises(ValueError, match="no version"):
            parse_ocp_version(other)


def test_other_commands_of_microshift_are_no_kubelet() -> None:
    """Nor is a program that only is called so, in a Pod."""
    host = FakeHost()
    host.add_process(42, "/usr/bin/microshift", "version")
    assert gather_kubelet(host).kind == "absent"
    host = FakeHost()
    host.add_process(42, "/usr/bin/microshift", "run", cgroup="0::/kubepods.slice/cri-containerd-1.scope\n")
    assert gather_kubelet(host).kind == "absent"


def test_kubeedge() -> None:
    """The kubelet's settings stand in the file of edgecore, which tells no version of Kubernetes."""
    host = FakeHost(files={"/etc/kubeedge/config/edgecore.yaml": EDGECORE})
    host.add_process(42, "/usr/local/bin/edgecore", cgroup="0::/system.slice/edgecore.service\n")
    found = facts(host)
    assert (found.distribution, found.version.value, found.gate_configured.value) == ("kubeedge", None, False)
    assert (found.endpoint.value, found.root_dir.value) == ("/run/containerd/containerd.sock", "/var/lib/edged")
    assert (found.max_pods.value, found.unit.value) == (50, "edgecore.service")


@pytest.mark.parametrize("content", ["modules: []\n", "a: [", "modules: {edged: 1}\n", b"\xff", errno.EACCES, "", "[]"])
def test_an_edgecore_file_of_another_form(content: str | bytes | int) -> None:
    """What it says is unknown, or nothing; no traceback, and no other kubelet's settings."""
    host = FakeHost(files={"/etc/kubeedge/config/edgecore.yaml": content})
    host.add_process(42, "/usr/local/bin/edgecore")
    assert facts(host).gate.value is None


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        (f"/machine.slice/libpod-{NAME}.scope/container", None),
        (f"/system.slice/kubelet.service/libpod-payload-{NAME}", "kubelet.service"),
        (f"/system.slice/docker-{NAME}.scope", None),
        (f"/docker/{NAME}", None),
    ],
)
def test_a_kubelet_in_a_container_of_the_node(cgroup: str, unit: str | None) -> None:
    """podman or docker runs it with the node's PIDs and all privileges: it is the node's own, read and asked."""
    host = FakeHost(files={"/etc/kubernetes/kubelet.yaml": HEADER + "maxPods: 7\n"})
    host.commands["/usr/local/bin/kubelet --version"] = "Kubernetes v1.36.1\n"
    arguments = ("kubelet", "--config=/etc/kubernetes/kubelet.yaml")
    host.add_process(42, *arguments, exe="/usr/local/bin/kubelet", cgroup=f"0::{cgroup}\n")
    found = facts(host)
    assert (found.version.value, found.max_pods.value, found.unit.value) == ("1.36.1", 7, unit)


@pytest.mark.parametrize("held", [0, 0xA80425FB, 1 << 21, 1 << 19])
def test_a_container_without_privileges_is_not_the_nodes(held: int) -> None:
    """Whoever may start one with the node's PIDs could have anything run as root otherwise; it is named, not run."""
    host = FakeHost()
    host.add_process(42, "kubelet", "--config=/x", cgroup=f"0::/docker/{NAME}\n", capabilities=held)
    found = gather_kubelet(host)
    assert (found.kind, "without privileges" in found.problem) == ("not-readable", True)
    assert not [path for path in host.touched if "--version" in path]


SUPERVISED = (
    "supervise-daemon",
    "k3s",
    "--start",
    "--pidfile",
    "/run/k3s.pid",
    "/usr/local/bin/k3s",
    "--",
    "server",
    "--x",
)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (SUPERVISED, ["--x"]),
        (("/sbin/docker-init", "--", "/bin/k3d-entrypoint.sh", "server", "--a", "b"), ["--a", "b"]),
        (("sudo", "k3s", "server"), []),
        (("supervise-daemon", "k3s", "--reexec"), None),
        (("supervise-daemon", "k3s", "--start", "/usr/local/bin/k3s", "--", "agent"), None),
        (("bash", "-c", "k3s server"), None),
        (("server",), None),
        (("web", "server"), None),
        ((), None),
    ],
)
def test_who_started_k3s(words: tuple[str, ...], found: list[str] | None) -> None:
    """Only a command line that starts this very subcommand of k3s tells its arguments."""
    assert parse_started(words, "server") == found


def test_the_supervisor_of_openrc() -> None:
    """It counts as ancestor or by its name, and never out of a Pod."""
    k3s = Process(42, "k3s-server", ("/usr/local/bin/k3s server",))
    for parent, cgroup, known in (
        (7, "0::/openrc.k3s\n", True),
        (1, "0::/openrc.k3s\n", True),
        (1, "0::/kubepods/pod6c1e0b7e-0000\n", False),
    ):
        host = FakeHost()
        host.add_process(7, *SUPERVISED, name="supervise-daemo", cgroup=cgroup)
        host.add_process(42, *k3s.argv, name=k3s.name, parent=parent, cgroup="0::/openrc.k3s\n")
        assert arguments_above(host, k3s).value == (["--x"] if known else None)


def test_ancestors_that_go_in_circles() -> None:
    """The walk ends."""
    host = FakeHost()
    host.add_process(42, "/usr/local/bin/k3s server", name="k3s-server", parent=42)
    assert arguments_above(host, host.process_list[0]).kind == "absent"
