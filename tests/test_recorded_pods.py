"""What the probe says of a node is what a real kubelet then did with each Pod there: all of them, for that reason."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab.recorded import KERNELS, NAMES, Recording
from probe.checks.catalog import judge
from probe.facts.tried import Attempt
from probe.host.idmap import NamespaceAnswer
from probe.reading import Reading
from probe.terms import Usable
from probe.verdict import Conclusion, conclude

PODS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("pods").joinpath("pods.json").read_text())

MESSAGES = {
    "RuntimeTooOld": "does not support user namespaces",
    "HandlerWithoutUserNamespaces": "does not support user namespaces|missing `mountExtensions.idmap` entry",
    "UserNamespacesDisabled": "unshare: .* no space left on device",
    "ProcCovered": 'mounting "proc" to rootfs .* operation not permitted',
    "SysfsCovered": 'mounting "sysfs" to rootfs .* operation not permitted',
    "TmpfsNotIdmappable": "(kube-api-access.*: i|serviceaccount.*: I)nvalid argument",
}
"""What kubelet and runtimes said where a verdict has that reason."""
REFUSED = "(MOUNT_ATTR_IDMAP.*: i|mount_setattr.*: I)nvalid argument"
"""What runc and crun say of a file system that cannot be idmapped."""


def with_kernel_6_12(node: Recording) -> None:
    """The same node, booted with another kernel."""
    node.kernel = KERNELS["6.12"]
    node.host.files["/proc/sys/kernel/osrelease"] = b"6.12.107+deb13-amd64\n"


def without_clean_proc(node: Recording) -> None:
    """Parts of /proc are covered on that machine, and the second, whole mount of it was taken away."""
    lines = node.mountinfo.splitlines(keepends=True)
    kept = [line for line in lines if " /run/proc-clean " not in line]
    assert len(kept) == len(lines) - 1
    node.mountinfo = "".join(kept)


def with_sysfs_covered(node: Recording) -> None:
    """A tmpfs over a directory of /sys that is not empty."""
    add_mount(node, "/sys/module rw,relatime - tmpfs tmpfs rw", parent="/sys")


def with_nfs(node: Recording) -> None:
    """NFS 4.2, exported by the machine itself."""
    add_mount(node, "/fs/nfs rw,relatime - nfs4 127.0.0.1:/ rw,vers=4.2,proto=tcp", parent="/")


def without_user_namespaces(node: Recording) -> None:
    """The limit, and what the kernel then says to root."""
    node.host.files["/proc/sys/user/max_user_namespaces"] = b"0\n"
    node.namespace = NamespaceAnswer("unshare", errno.ENOSPC)


def without_unprivileged_user_namespaces(node: Recording) -> None:
    """Debian's switch, which root does not feel."""
    node.host.files["/proc/sys/kernel/unprivileged_userns_clone"] = b"0\n"


def with_older_runc(node: Recording) -> None:
    """Another runc in the place of the one that containerd had asked when it started."""
    node.host.add_oci_runtime("/usr/sbin/runc", "runc-1.1.15")
    node.host.modified["/usr/sbin/runc"] = node.host.started[node.runtime_pid] + 60


def with_native_snapshotter(node: Recording) -> None:
    """containerd with the native snapshotter, and a root of its own for it."""
    root = "/var/lib/containerd-native"
    node.host.add_directory(f"{root}/io.containerd.snapshotter.v1.native")
    node.cri = msgspec.structs.replace(
        node.cri,
        config=node.cri.config.parse(lambda text: text.replace("/var/lib/containerd", root)),
        image_filesystem=Reading("CRI ImageFsInfo", f"{root}/io.containerd.snapshotter.v1.native"),
    )


VARIATIONS: dict[str, Callable[[Recording], None]] = {
    "kernel 6.12": with_kernel_6_12,
    "no clean proc": without_clean_proc,
    "sysfs covered": with_sysfs_covered,
    "NFS mounted": with_nfs,
    "max_user_namespaces 0": without_user_namespaces,
    "unprivileged_userns_clone 0": without_unprivileged_user_namespaces,
    "runc downgraded": with_older_runc,
    "native snapshotter": with_native_snapshotter,
}


def add_mount(node: Recording, rest: str, parent: str) -> None:
    """A further line of the mount table, on the mount whose mount point is *parent*."""
    above = next(line.split()[0] for line in node.mountinfo.splitlines() if line.split()[4] == parent)
    node.mountinfo += f"9000 {above} 0:9000 / {rest}\n"


def recorded_node(pod: dict[str, Any]) -> Recording:
    """The node as it was when that Pod came."""
    node = Recording(pod["node"])
    if "variation" in pod:
        VARIATIONS[pod["variation"]](node)
    return node


def conclusion_for(node: Recording, handler: str) -> Conclusion:
    """What the Report says of one handler, also of one that CRI does not name."""
    return conclude(judge(node.facts(), handler))


def volume_of(node: Recording, path: str) -> Attempt:
    """The row of a volume: of the path that it lies on, or of a fresh tmpfs."""
    if path == "tmpfs":
        return next(attempt for attempt in node.facts().attempts if attempt.role == "tmpfs")
    return node.try_path(path)


def usable_for(pod: dict[str, Any]) -> Usable | None:
    return volume_of(recorded_node(pod), pod["path"]).usable


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: f"{pod['node']}-{pod['pod']}")
def test_prediction(pod: dict[str, Any]) -> None:
    """It ran exactly if its node's verdict, the row of its volume and its own spec say so; else for that reason."""
    node = recorded_node(pod)
    reasons: dict[str, str] = {}
    if not pod.get("host_users"):
        conclusion = conclusion_for(node, pod.get("handler", ""))
        verdict = conclusion.levels["projected" if pod.get("token", True) else "stateless"]
        assert verdict != "unknown", conclusion
        if verdict == "not-ready":
            reasons["node"] = MESSAGES[conclusion.reason]
        if "path" in pod:
            volume = volume_of(node, pod["path"])
            assert volume.result != "unknown", volume
            if volume.result == "refused":
                reasons["filesystem"] = REFUSED
    if "fault" in pod:
        assert (reasons, pod["blocked_by"]) == ({}, "fault"), "its node or its volume is to blame as well"
        assert pod["phase"] != "Succeeded"
    elif pod["phase"] == "Succeeded":
        assert reasons == {}
    else:
        assert pod["blocked_by"] in reasons
        assert re.search(reasons[pod["blocked_by"]], pod["message"])


@pytest.mark.parametrize("pod", [pod for pod in PODS if "usable" in pod], ids=lambda pod: f"{pod['node']}-{pod['pod']}")
def test_what_is_usable(pod: dict[str, Any]) -> None:
    """What a container found on its volume is what the row promised: all, only to be read, or only the top mount."""
    assert usable_for(pod) == pod["usable"]


def test_read_only_is_told_beforehand() -> None:
    """Where writing was the Pod's fault, the row had said that the file system is read-only."""
    faults = [pod for pod in PODS if "fault" in pod and "path" in pod]
    assert len(faults) == 2
    assert {usable_for(pod) for pod in faults} == {"read-only"}


def test_downgraded_runc_contradicts() -> None:
    """The finding that compares the layers names the binary that broke the promise, and asks for a newer one."""
    node = Recording("containerd-2.1.9-kernel-6.18")
    with_older_runc(node)
    report = node.report()
    assert (report.verdict, report.reason) == ("not-ready", "HandlerWithoutUserNamespaces")
    assert report.contradictions == ("runtime-oci-features",)
    (finding,) = [finding for finding in report.findings if finding.id == "runtime-oci-features"]
    assert "runc 1.1.15+ds1 (/usr/sbin/runc)" in finding.message
    assert "runc 1.2 or newer" in finding.remediation
    assert {row.name: row.verdict for row in report.handlers}["crun"] == "ready"


def test_upgraded_runc_contradicts() -> None:
    """The reverse: an able runc behind an old denial is refused by the kubelet; restarting containerd mends it."""
    node = Recording("containerd-2.1.9-kernel-6.18")
    node.host.add_oci_runtime("/opt/trixie/usr/sbin/runc", "runc-1.3.6")
    finding = {finding.id: finding for finding in judge(node.facts(), "oldrunc")}
    assert finding["runtime-user-namespaces"].status == "fail"
    assert finding["runtime-oci-features"].status == "warn"
    assert "systemctl restart containerd" in finding["runtime-oci-features"].remediation


def test_native_snapshotter_needs_no_layers() -> None:
    """Its layers are copied, so the question whether overlay takes idmapped ones does not arise."""
    node = Recording("containerd-2.1.9-kernel-6.18")
    with_native_snapshotter(node)
    report = node.report()
    assert report.facts.snapshotter == "native"
    assert {f.id: f.status for f in report.findings}["filesystem-overlay-layers"] == "skipped"


def test_every_node_was_tried() -> None:
    """No recorded node is judged without a Pod that went there; the one with constructed volumes is another's twin."""
    assert {pod["node"] for pod in PODS} == {name for name in NAMES if "constructed" not in name}
