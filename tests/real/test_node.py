"""The whole command on a whole node: ready when all is well, and the right reason when one thing is not."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from lab.prerequisites import require
from lab.real import kernel, packages
from lab.real.filesystems import CATALOG, filesystem
from lab.real.node import Node

pytestmark = pytest.mark.real

GetRuntime = Callable[..., packages.Runtime]


def test_a_node_where_all_is_well_is_ready(node: Node) -> None:
    """Real kubelet process, containerd, OCI runtimes, kernel and file systems, through the real command."""
    with node.kubelet():
        probed = node.probe()
    assert probed.verdict == (0, "ready", ""), probed.stdout
    assert probed.stderr == ""
    assert set(probed.report["levels"].values()) == {"ready"}
    assert {handler["name"]: handler["verdict"] for handler in probed.report["handlers"]} == {
        "": "ready",
        "runc": "ready",
        "crun": "ready",
    }
    # What explains is known as well, but for what this machine's kernel itself decides.
    ours = [
        each for each in probed.report["findings"] if each["id"].startswith(("kubelet-", "runtime-", "filesystem-"))
    ]
    assert {each["status"] for each in ours if each["id"] != "kubelet-cgroup-v1"} <= {"pass", "skipped"}, ours


def test_a_bundle_of_a_node_gives_the_same_report(node: Node) -> None:
    """All that a probe asks, of the kernel and the daemons too, is in the file."""
    file = f"{node.directory}/node.tar.gz"
    with node.kubelet():
        made = node.probe("bundle", file)
    assert made.code == 0, made.stderr
    again = node.probe("report", "--from-bundle", file, "-o", "json")
    assert again.verdict == (0, "ready", ""), made.stdout
    with tarfile.open(file) as archive:
        told = archive.extractfile("report.json")
        assert told
        assert json.load(told) == again.report


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "ext3", "ramfs", "overlay", "fuse", "fuse-idmap"])
def test_the_kubelets_directory_on_each_file_system(name: str, node: Node) -> None:
    """What the kernel cannot idmap there keeps every Pod from starting."""
    require(not CATALOG[name].missing(), CATALOG[name].missing())
    refused = {"ext3", "ramfs", "fuse"} | ({"overlay"} if kernel.RELEASE < (7, 3) else set())
    with filesystem(name, node.directory) as path:
        served = name.startswith("fuse")  # the test's server makes no directories: its own has to do
        with node.kubelet(root=f"{path}/d" if served else f"{path}/kubelet", pods=not served):
            probed = node.probe()
    expected = (1, "not-ready", "KubeletRootNotIdmappable") if name in refused else (0, "ready", "")
    assert probed.verdict == expected, probed.stdout
    (row,) = probed.rows("kubelet-root")
    assert row["fstype"] == {"fuse": "fuse.test", "fuse-idmap": "fuse.test"}.get(name, name)


@pytest.mark.parametrize(
    ("version", "config", "expected"),
    [
        ("1.27.16", "", (1, "not-ready", "KubeletTooOld")),
        ("1.28.15", "featureGates: {UserNamespacesSupport: true}", (1, "not-ready", "KubeletTooOld")),
        ("1.32.1", "", (1, "not-ready", "KubeletGateOff")),
        ("1.32.1", "featureGates: {UserNamespacesSupport: true}", (0, "ready", "")),
        ("1.34.1", "featureGates: {UserNamespacesSupport: false}", (1, "not-ready", "KubeletGateOff")),
        ("1.34.1", "", (0, "ready", "")),
    ],
)
def test_kubelets(version: str, config: str, expected: tuple[int, str, str], node: Node) -> None:
    """What the running kubelet can do, by its version and its gate."""
    with node.kubelet(version=version, config=config):
        assert node.probe().verdict == expected


def test_without_a_kubelet(node: Node) -> None:
    """Nobody knows then, though all that could be tried works."""
    assert node.probe().verdict == (2, "unknown", "KubeletNotFound")


@pytest.mark.parametrize("name", ["runc", "crun"])
def test_an_oci_runtime_that_cannot_idmap(
    name: str, node: Node, containerd: packages.Runtime, machine_runtime: GetRuntime, runtime: GetRuntime
) -> None:
    """Debian 12's runtimes: containerd says of its own that Pods cannot have it, and of the other that they can."""
    old, new = machine_runtime(name), runtime(name, {"runc": (1, 2), "crun": (1, 9)}[name])
    require(old.version < {"runc": (1, 2), "crun": (1, 9)}[name], f"an old {name} (the machine's is {old})")
    with node.containerd(containerd, {"runc": old.path, "new": new.path}) as socket, node.kubelet(endpoint=socket):
        probed = node.probe()
    assert probed.verdict == (1, "not-ready", "HandlerWithoutUserNamespaces"), probed.stdout
    assert {handler["name"]: handler["verdict"] for handler in probed.report["handlers"]} == {
        "": "not-ready",
        "runc": "not-ready",
        "new": "ready",
    }


def test_a_containerd_without_cri(node: Node, containerd: packages.Runtime, runtime: GetRuntime) -> None:
    """As Docker's packages configure it: no kubelet can use it."""
    handlers = {"runc": runtime("runc", (1, 2)).path}
    disabled = ("io.containerd.grpc.v1.cri",)
    with node.containerd(containerd, handlers, disabled=disabled) as socket, node.kubelet(endpoint=socket):
        probed = node.probe()
    assert probed.code in (1, 2), probed.stdout
    assert "unknown service runtime.v1.RuntimeService" in probed.stdout


@pytest.mark.parametrize(
    ("covered", "reason"), [("/proc/meminfo", "ProcCovered"), ("/sys/devices/system/cpu/online", "SysfsCovered")]
)
def test_a_covered_proc_or_sys(
    covered: str,
    reason: str,
    bare_node: Callable[..., AbstractContextManager[Node]],
    containerd: packages.Runtime,
    runtime: GetRuntime,
) -> None:
    """As lxcfs does, and containers around a node: no Pod with a user namespace may mount its own then."""
    with bare_node() as node:
        node.run("mount", "--bind", "/dev/null", covered)
        handlers = {"runc": runtime("runc", (1, 2)).path}
        with node.containerd(containerd, handlers) as node.endpoint, node.kubelet():
            assert node.probe().verdict == (1, "not-ready", reason)
            if covered.startswith("/proc"):  # a second one that is whole heals the first, wherever it is
                os.mkdir(f"{node.directory}/whole")
                node.run("mount", "-t", "proc", "proc", f"{node.directory}/whole")
                assert node.probe().verdict == (0, "ready", "")


def test_a_runtimes_root_that_cannot_be_idmapped(
    bare_node: Callable[..., AbstractContextManager[Node]], containerd: packages.Runtime, runtime: GetRuntime
) -> None:
    """Image layers and /etc/hostname lie there."""
    handlers = {"runc": runtime("runc", (1, 2)).path}
    with bare_node() as node:
        root = f"{node.directory}/ramfs"
        os.mkdir(root)
        kernel.mount("test", root, "ramfs", 0, "mode=0755")
        with node.containerd(containerd, handlers, root=root) as node.endpoint, node.kubelet():
            assert node.probe().verdict == (1, "not-ready", "RuntimeRootNotIdmappable")


def test_a_runtime_that_is_confined(node: Node, containerd: packages.Runtime, runtime: GetRuntime) -> None:
    """The probe has capabilities that the runtime lacks: what the probe could do says nothing then."""
    handlers = {"runc": runtime("runc", (1, 2)).path}
    wrapper = ("setpriv", "--bounding-set=-setuid")
    with node.containerd(containerd, handlers, wrapper=wrapper) as socket, node.kubelet(endpoint=socket):
        probed = node.probe()
    assert probed.code != 0
    assert probed.finding("runtime-confinement")["status"] != "pass"
    assert probed.verdict == (1, "not-ready", "RuntimeConfined")
