"""Quirks of distributions that were not recorded: each node is a recorded one changed to what its source tells.

How each distribution's kubelet is found and read is tested in tests/facts; here the whole Report counts.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from lab.recorded import DATA, KERNELS, Recording
from probe.host.idmap import NamespaceAnswer
from probe.host.places import Place

HEADER = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
CONTAINERD, CRIO = "containerd-2.1.9-kernel-6.18", "cri-o-1.37.0-dev-kernel-6.18"
K3S_BIN = "/var/lib/rancher/k3s/data/0ff1ce/bin"
RKE2_BIN = "/var/lib/rancher/rke2/data/v1.32.9-rke2r1-0d52/bin"
MICROK8S = "/var/snap/microk8s/common"


@dataclass(frozen=True)
class Case:
    """One distribution's node, and what has to be said of it."""

    source: str
    change: Callable[[Recording], None]
    verdict: str
    reason: str = ""
    base: str = CONTAINERD
    distribution: str = "kubelet"
    kubelet_root: str = "/var/lib/kubelet"
    remediation: str = ""
    """Of the finding that decides: a part of it that fits the distribution."""
    stateless: str = ""
    """That level, where it differs from the verdict."""


def run_kubelet(
    node: Recording, *argv: str, version: str, exe: str = "", files: dict[str, str] | None = None, **process: Any
) -> None:
    """Let process 4200 be the node's kubelet, in the place of the recorded one."""
    node.host.end_process(node.kubelet_pid)
    node.host.add_process(4200, *argv, exe=exe or argv[0], started=node.host.started[node.runtime_pid] + 1, **process)
    node.host.commands[f"{exe or argv[0]} --version"] = version
    node.host.files |= files or {}


def run_containerd(
    node: Recording, *argv: str, socket: str, root: str, runc: str, path: str = "", **process: Any
) -> None:
    """Let process 4100 be containerd, with another root and another runc; the rest is as recorded.

    With *path* runc has no configured place and is found in that PATH.
    """
    started, table = node.host.started[node.runtime_pid], node.mountinfo
    node.host.end_process(node.runtime_pid)
    node.host.add_process(4100, *argv, environment={"PATH": path}, started=started, **process)
    node.host.files["/proc/4100/mountinfo"] = table.encode()
    shim = f"{os.path.dirname(runc)}/containerd-shim-runc-v2"  # which each distribution ships beside its runc
    node.host.places_found[shim] = Place(path=shim, mode=0o100755, uid=0, gid=0)
    node.host.add_oci_runtime(runc, "runc-1.3.6")
    node.host.add_directory(f"{root}/io.containerd.snapshotter.v1.overlayfs")
    node.runtime_pid, node.socket = 4100, socket

    def moved(text: str) -> str:
        return text.replace("/var/lib/containerd", root).replace("/usr/sbin/runc", "" if path else runc)

    config, snapshots = node.cri.config.parse(moved), node.cri.image_filesystem.parse(moved)
    listener = msgspec.structs.replace(node.cri.listener, value=4100)
    node.cri = msgspec.structs.replace(node.cri, config=config, image_filesystem=snapshots, listener=listener)
    program = str(node.host.links["/proc/4100/exe"]).replace("/k3s", "/containerd")
    dump = (DATA / "cri/containerd-2.1.9/config-dump.toml").read_text()
    node.host.commands[f"{program} --config {argv[-1]} config dump"] = moved(dump)


def run_kernel(node: Recording, release: str, answers: str = "") -> None:
    """Another release, which answers to attempts like a kernel that is known."""
    node.host.files["/proc/sys/kernel/osrelease"] = f"{release}\n".encode()
    if answers:
        node.kernel = KERNELS[answers]


def forbid_user_namespaces(node: Recording) -> None:
    """The limit of 0, and what the kernel says to root then."""
    node.host.files["/proc/sys/user/max_user_namespaces"] = b"0\n"
    node.namespace = NamespaceAnswer("unshare", errno.ENOSPC)


def refuse_every_idmap(node: Recording, error: str) -> None:
    """One answer to all attempts at an idmapped mount."""
    node.kernel = {"tmpfs": error, "overlay": error, "mounts": dict.fromkeys(node.kernel["mounts"], error)}


def set_os_release(node: Recording, identity: str, version: str) -> None:
    node.host.files["/etc/os-release"] = f'ID={identity}\nVERSION_ID="{version}"\n'.encode()


def k3s(node: Recording) -> None:
    run_containerd(
        node,
        "containerd",
        "-c",
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        exe=f"{K3S_BIN}/k3s",
        socket="/run/k3s/containerd/containerd.sock",
        root="/var/lib/rancher/k3s/agent/containerd",
        runc=f"{K3S_BIN}/runc",
        path=f"{K3S_BIN}:/usr/sbin:/usr/bin",
        cgroup="0::/system.slice/k3s.service\n",
    )
    run_kubelet(
        node,
        "/usr/local/bin/k3s server",
        name="k3s-server",
        exe=f"{K3S_BIN}/k3s",
        version="k3s version v1.33.1+k3s1 (99d91538)\n",
        files={
            "/etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s server\n",
            "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/00-k3s-defaults.conf": HEADER
            + "containerRuntimeEndpoint: unix:///run/k3s/containerd/containerd.sock\n",
        },
        cgroup="0::/system.slice/k3s.service\n",
    )


def rke2(node: Recording) -> None:
    run_containerd(
        node,
        "containerd",
        "-c",
        "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        exe=f"{RKE2_BIN}/containerd",
        socket="/run/k3s/containerd/containerd.sock",
        root="/var/lib/rancher/rke2/agent/containerd",
        runc=f"{RKE2_BIN}/runc",
        path=f"{RKE2_BIN}:/usr/sbin:/usr/bin",
    )
    node.host.add_process(4000, "/usr/bin/rke2 server", name="rke2")
    run_kubelet(
        node,
        "kubelet",
        "--config-dir=/var/lib/rancher/rke2/agent/etc/kubelet.conf.d",
        "--containerd=/run/k3s/containerd/containerd.sock",
        exe=f"{RKE2_BIN}/kubelet",
        version="Kubernetes v1.32.9+rke2r1\n",
        parent=4000,
        files={
            "/var/lib/rancher/rke2/agent/etc/kubelet.conf.d/00-rke2-defaults.conf": HEADER
            + "containerRuntimeEndpoint: unix:///run/k3s/containerd/containerd.sock\n"
        },
    )


def k0s(node: Recording) -> None:
    run_containerd(
        node,
        "/var/lib/k0s/bin/containerd",
        "--root=/var/lib/k0s/containerd",
        "--config",
        "/etc/k0s/containerd.toml",
        socket="/run/k0s/containerd.sock",
        root="/var/lib/k0s/containerd",
        runc="/var/lib/k0s/bin/runc",
        path="/var/lib/k0s/bin:/usr/sbin:/usr/bin",
    )
    node.host.add_process(4000, "/usr/local/bin/k0s", "worker")
    node.host.add_directory("/var/lib/k0s/kubelet/pods")
    run_kubelet(
        node,
        "/var/lib/k0s/bin/kubelet",
        "--root-dir=/var/lib/k0s/kubelet",
        "--config=/var/lib/k0s/kubelet-config.yaml",
        "--container-runtime-endpoint=unix:///run/k0s/containerd.sock",
        version="Kubernetes v1.34.1\n",
        parent=4000,
        files={"/var/lib/k0s/kubelet-config.yaml": HEADER},
    )


def microk8s(node: Recording) -> None:
    run_containerd(
        node,
        "/snap/microk8s/9044/bin/containerd",
        "--config",
        "/var/snap/microk8s/9044/args/containerd.toml",
        socket=f"{MICROK8S}/run/containerd.sock",
        root=f"{MICROK8S}/var/lib/containerd",
        runc="/snap/microk8s/9044/bin/runc",
    )
    node.host.add_directory(f"{MICROK8S}/var/lib/kubelet/pods")
    run_kubelet(
        node,
        "/snap/microk8s/9044/kubelite",
        "--kubelet-args-file=/var/snap/microk8s/9044/args/kubelet",
        version="",  # it knows no such flag
        files={
            "/var/snap/microk8s/9044/args/kubelet": "--root-dir=${SNAP_COMMON}/var/lib/kubelet\n"
            "--container-runtime-endpoint=${SNAP_COMMON}/run/containerd.sock\n",
            "/snap/microk8s/9044/meta/snap.yaml": "name: microk8s\nversion: v1.33.5\n",
        },
        environment={"SNAP_COMMON": MICROK8S},
    )


def eks_al2023(node: Recording) -> None:
    set_os_release(node, "amzn", "2023")
    run_kernel(node, "6.1.158-178.288.amzn2023.x86_64", answers="6.1")
    node.host.files["/sys/fs/selinux/enforce"] = b"0"
    run_kubelet(
        node,
        "/usr/bin/kubelet",
        "--config=/etc/kubernetes/kubelet/config.json",
        "--config-dir=/etc/kubernetes/kubelet/config.json.d",
        version="Kubernetes v1.33.5-eks-113cf36\n",
        files={
            "/etc/kubernetes/kubelet/config.json": '{"kind": "KubeletConfiguration", "apiVersion": '
            '"kubelet.config.k8s.io/v1beta1", "maxPods": 58}\n',
            "/etc/kubernetes/kubelet/config.json.d/40-nodeadm.conf": '{"apiVersion": "kubelet.config.k8s.io/v1beta1", '
            '"kind": "KubeletConfiguration", "maxPods": 17}\n',
        },
    )


def bottlerocket(node: Recording) -> None:
    set_os_release(node, "bottlerocket", "1.49.0")
    run_kernel(node, "6.12.46", answers="6.12")
    forbid_user_namespaces(node)
    run_kubelet(
        node,
        "/usr/bin/kubelet",
        "--config",
        "/etc/kubernetes/kubelet/config",
        "--root-dir",
        "/var/lib/kubelet",
        version="Kubernetes v1.33.4-eks-e386d34\n",
        files={"/etc/kubernetes/kubelet/config": HEADER},
    )


def talos(node: Recording) -> None:
    set_os_release(node, "talos", "v1.11.2")
    forbid_user_namespaces(node)
    run_containerd(
        node,
        "/bin/containerd",
        "--address",
        "/run/containerd/containerd.sock",
        "--config",
        "/etc/cri/containerd.toml",
        socket="/run/containerd/containerd.sock",
        root="/var/lib/containerd",
        runc="/bin/runc",
        cgroup="0::/podruntime/runtime\n",
    )
    node.host.add_process(4001, "/bin/containerd", "--address", "/system/run/containerd/containerd.sock")
    run_kubelet(
        node,
        "/usr/local/bin/kubelet",
        "--config=/etc/kubernetes/kubelet.yaml",
        "--container-runtime-endpoint=/run/containerd/containerd.sock",
        version="Kubernetes v1.34.1\n",
        root="/rootfs",
        files={"/rootfs/etc/kubernetes/kubelet.yaml": HEADER},
        cgroup="0::/podruntime/kubelet\n",
    )


def openshift(node: Recording) -> None:
    set_os_release(node, "rhel", "9.6")
    run_kernel(node, "5.14.0-570.49.1.el9_6.x86_64")  # the release is old, what was ported back to it is not
    node.host.files |= {
        "/sys/fs/selinux/enforce": b"1",
        f"/proc/{node.runtime_pid}/attr/current": b"system_u:system_r:container_runtime_t:s0\0",
    }
    config = node.cri.config.parse(lambda text: text.replace('"DefaultRuntime":"runc"', '"DefaultRuntime":"crun"'))
    node.cri = msgspec.structs.replace(node.cri, config=config)
    run_kubelet(
        node,
        "/usr/bin/kubelet",
        "--config=/etc/kubernetes/kubelet.conf",
        "--config-dir=/etc/openshift/kubelet.conf.d",
        "--container-runtime-endpoint=/var/run/crio/crio.sock",
        version="Kubernetes v1.33.4+2d0ed3e\n",
        files={
            "/etc/kubernetes/kubelet.conf": HEADER,
            "/etc/openshift/kubelet.conf.d/10-own.conf": HEADER + "maxPods: 250\n",
        },
    )


def early_el9(node: Recording) -> None:
    run_kernel(node, "5.14.0-284.30.1.el9_2.x86_64")
    refuse_every_idmap(node, "EPERM")


def unexplained_eperm(node: Recording) -> None:
    run_kernel(node, "5.14.0-362.8.1.el9_3.x86_64")
    refuse_every_idmap(node, "EPERM")


def ubuntu(node: Recording) -> None:
    set_os_release(node, "ubuntu", "24.04")
    run_kernel(node, "6.8.0-87-generic")
    node.host.files |= {
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": b"1\n",
        "/proc/sys/kernel/unprivileged_userns_clone": b"1\n",
        "/sys/kernel/security/lsm": b"lockdown,capability,landlock,yama,apparmor",
        f"/proc/{node.runtime_pid}/attr/current": b"unconfined\n",
    }


def hardened_debian(node: Recording) -> None:
    set_os_release(node, "debian", "13")
    run_kernel(node, "6.12.107+deb13-amd64", answers="6.12")
    node.host.files["/proc/sys/kernel/unprivileged_userns_clone"] = b"0\n"


CASES = {
    "k3s": Case("docs.k3s.io, Configuration Options; k3s-io/k3s", k3s, "ready", distribution="k3s"),
    "rke2": Case(
        "rancher/rke2#4043, the process tree; KEP-127: the gate is off by default before 1.33",
        rke2,
        "not-ready",
        "KubeletGateOff",
        distribution="rke2",
        remediation="/etc/rancher/rke2/config.yaml.d",
    ),
    "k0s": Case(
        "k0sproject/k0s, pkg/component/worker", k0s, "ready", distribution="k0s", kubelet_root="/var/lib/k0s/kubelet"
    ),
    "microk8s": Case(
        "canonical/microk8s, kubelite and its arguments files",
        microk8s,
        "ready",
        distribution="microk8s",
        kubelet_root=f"{MICROK8S}/var/lib/kubelet",
    ),
    "eks-al2023": Case(
        "awslabs/amazon-eks-ami, nodeadm; Linux 6.1 cannot idmap tmpfs, which came with 6.3",
        eks_al2023,
        "not-ready",
        "TmpfsNotIdmappable",
        stateless="ready",
    ),
    "bottlerocket": Case(
        "bottlerocket-os/bottlerocket#3328: user.max_user_namespaces is 0 by default",
        bottlerocket,
        "not-ready",
        "UserNamespacesDisabled",
        remediation="apiclient",
    ),
    "talos": Case(
        "siderolabs/talos#8554: the same, a kubelet with a root of its own, and a containerd of the system's",
        talos,
        "not-ready",
        "UserNamespacesDisabled",
        remediation="sysctls:",
    ),
    "openshift": Case(
        "openshift/machine-config-operator; cri-o: crun is the default since 1.31", openshift, "ready", base=CRIO
    ),
    "early-el9": Case(
        "opencontainers/runc#3717, nestybox/sysbox#586: EPERM from mount_setattr before 5.14.0-334.el9",
        early_el9,
        "not-ready",
        "RuntimeRootNotIdmappable",
        remediation="5.14.0-334.el9",
    ),
    "eperm-of-unknown-origin": Case(
        "mount_setattr(2): EPERM is also what a seccomp filter or a missing capability answers",
        unexplained_eperm,
        "unknown",
        "NotPermitted",
    ),
    "ubuntu": Case("opencontainers/runc#4069, containerd/nerdctl#2847: binds unprivileged users only", ubuntu, "ready"),
    "debian": Case("user_namespaces(7); Debian's patch binds unprivileged users only", hardened_debian, "ready"),
}


@pytest.mark.parametrize("name", CASES)
def test_distribution(name: str) -> None:
    """Verdict and reason, found on the paths of that distribution, and mended in its way."""
    case = CASES[name]
    node = without_pods(case.base)
    case.change(node)
    report = node.report()
    assert (report.verdict, report.reason) == (case.verdict, case.reason), report.message
    assert report.levels["stateless"] == (case.stateless or case.verdict)
    assert report.facts.kubelet_distribution == case.distribution
    assert report.facts.runtime_name == ("cri-o" if case.base == CRIO else "containerd")
    (kubelet_root,) = [row for row in report.filesystems if row.role == "kubelet-root"]
    assert kubelet_root.path == f"{case.kubelet_root}/pods"
    deciding = [finding for finding in report.findings if case.reason and finding.reason == case.reason]
    assert case.remediation in (deciding[0].remediation if deciding else "")


def without_pods(base: str) -> Recording:
    """A recorded node on which nothing runs that would prove what has to be concluded here."""
    node = Recording(base)
    for pid in list(node.host.started):
        cgroup = node.host.files[f"/proc/{pid}/cgroup"]
        if isinstance(cgroup, bytes) and b"kubepods" in cgroup:
            node.host.end_process(pid)
    return node


@pytest.mark.parametrize(
    ("name", "binary"),
    [
        ("k3s", f"{K3S_BIN}/runc"),
        ("rke2", f"{RKE2_BIN}/runc"),
        ("k0s", "/var/lib/k0s/bin/runc"),
        ("microk8s", "/snap/microk8s/9044/bin/runc"),
        ("openshift", "/usr/bin/crun"),
    ],
)
def test_bundled_runtime_is_asked(name: str, binary: str) -> None:
    """Distributions bring an OCI runtime of their own: that one is asked, and no other that lies on the node."""
    node = Recording(CASES[name].base)
    CASES[name].change(node)
    report = node.report()
    default = next(row for row in report.facts.oci_runtimes if not row.handler)
    assert (default.name, default.idmap) == ("crun" if name == "openshift" else "runc", True)
    assert f"{binary} features" in node.host.touched


@pytest.mark.parametrize("name", ["ubuntu", "debian"])
def test_switches_for_the_unprivileged_are_told_and_harmless(name: str) -> None:
    """Such a switch is named in the Report, so that nobody has to look for it, and passes."""
    node = Recording(CASES[name].base)
    CASES[name].change(node)
    finding = {finding.id: finding for finding in node.report().findings}["kernel-unprivileged-switches"]
    assert finding.status == "pass"
    assert "kernel.unprivileged_userns_clone=" in finding.message
