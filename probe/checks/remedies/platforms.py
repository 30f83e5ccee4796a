"""What a node runs on, and the commands that differ with it.

Of a remediation, a line that starts with a space is a command, or a part of a file, and is printed whole; all others
are prose. What the node chose goes into either through `quoted` or `inline`.
"""

from __future__ import annotations

import shlex
from typing import Literal

from probe.facts.model import Facts

PLATFORMS = {
    "wsl": "WSL",
    "container": "a node that is a container (kind, k3d, LXC)",
    "talos": "Talos",
    "bottlerocket": "Bottlerocket",
    "openshift": "OpenShift",
    "k3s": "K3s",
    "rke2": "RKE2",
    "k0s": "k0s",
    "microk8s": "MicroK8s",
    "al2023": "Amazon EKS on AL2023",
    "debian-12": "Debian 12",
    "debian": "Debian",
    "ubuntu-22.04": "Ubuntu 22.04",
    "ubuntu": "Ubuntu",
    "rhel": "RHEL, and what is built from it",
}
"""What `platforms_of` may find, and how each is called."""

_OF_ID = {
    "talos": "talos",
    "bottlerocket": "bottlerocket",
    "rhcos": "openshift",
    "scos": "openshift",
    "debian": "debian",
    "ubuntu": "ubuntu",
    **dict.fromkeys(("rhel", "rocky", "almalinux", "centos", "fedora"), "rhel"),
}
"""By `ID` of os-release(5)."""

_BOTTLEROCKET = "apiclient exec admin sheltie systemctl restart"
"""Its shells are in containers; this one reaches the node. *Source*: bottlerocket-admin-container 0.7.3, sheltie."""

SERVICES = {
    # try-restart leaves alone what does not run: a node may have the units of server and agent, and one at work.
    "k3s": "systemctl try-restart k3s k3s-agent",
    "rke2": "systemctl try-restart rke2-server rke2-agent",
    "k0s": "systemctl try-restart k0sworker k0scontroller",
    "bottlerocket": f"{_BOTTLEROCKET} containerd",  # its kubelet.service is bound to containerd.service
}
"""One service for kubelet and container runtime."""

RESTART_CONTAINERD = "containerd config dump >/dev/null && systemctl restart containerd"
"""What follows a change of its configuration: with one that it cannot read it would not come back."""


def platforms_of(facts: Facts) -> tuple[str, ...]:
    """What this node is, from the Kubernetes distribution to the operating system, there the release comes first.

    A node that is a container has the kernel of the machine around it, so packages of its own system are no remedy.
    """
    name, _, version = (facts.distribution.value or "").partition(" ")
    system = "al2023" if (name, version) == ("amzn", "2023") else _OF_ID.get(name, "")
    kubernetes = facts.kubelet.value.distribution if facts.kubelet.value else ""
    around = nested(facts)
    names = (around, kubernetes) if around else (kubernetes, f"{system}-{version}", system)
    return tuple(each for each in names if each in PLATFORMS)


def nested(facts: Facts) -> Literal["", "wsl", "container"]:
    """`wsl` or `container` for a node that is not a machine of its own; empty for a machine."""
    runtime = facts.runtime.value.confinement.value if facts.runtime.value else None
    inside = runtime is not None and runtime.in_initial_user_namespace.value is False
    if facts.kernel.container.value == "wsl" or "microsoft" in (facts.kernel.release.value or ""):
        return "wsl"
    if facts.kernel.container.value or (inside and facts.probe.in_initial_user_namespace.value is False):
        return "container"
    return ""


def restart_kubelet(facts: Facts) -> str:
    """The line that restarts the kubelet of this node."""
    kubelets = SERVICES | {
        "microk8s": "snap restart microk8s.daemon-kubelite",
        "talos": "talosctl service kubelet restart",
        "bottlerocket": f"{_BOTTLEROCKET} kubelet",
    }
    return f"  {own_command(facts, kubelets) or f'systemctl restart {kubelet_unit(facts)}'}"


def kubelet_unit(facts: Facts) -> str:
    """The systemd unit of the kubelet, as its cgroup names it; else the usual one."""
    unit = facts.kubelet.value.unit.value if facts.kubelet.value else None
    return (unit or "kubelet").removesuffix(".service")


def own_command(facts: Facts, commands: dict[str, str]) -> str:
    """The command of the first platform that has one of its own."""
    return next((commands[each] for each in platforms_of(facts) if each in commands), "")


def quoted(path: str) -> str:
    """*path* as one word of a bash command, on one line whatever it holds."""
    if path.isprintable():
        return shlex.quote(path)
    content = path.encode("utf-8", "surrogateescape").replace(b"\\", b"\\\\").replace(b"'", b"\\'")
    return "$'" + "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in content) + "'"


def inline(text: str) -> str:
    """*text* as part of a sentence: it begins no line, so it cannot pass for a command."""
    return "".join(char if char.isprintable() else "?" for char in text)
