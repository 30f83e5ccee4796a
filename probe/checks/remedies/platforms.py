"""Platforms of nodes, and the commands that depend on them.

In a remediation, a line that starts with a space is a command or a part of a file, and is never wrapped; all others are
prose. Text from the node is inserted by `quoted` or `inline` only.
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
    "microshift": "MicroShift",
    "kubeedge": "KubeEdge",
    "al2023": "Amazon EKS on AL2023",
    "debian-12": "Debian 12",
    "debian": "Debian",
    "ubuntu-22.04": "Ubuntu 22.04",
    "ubuntu": "Ubuntu",
    "rhel": "RHEL, and what is built from it",
}
"""Platform -> display name."""

_OF_ID = {
    "talos": "talos",
    "bottlerocket": "bottlerocket",
    "rhcos": "openshift",
    "scos": "openshift",
    "debian": "debian",
    "ubuntu": "ubuntu",
    **dict.fromkeys(("rhel", "rocky", "almalinux", "centos", "fedora"), "rhel"),
}
"""`ID` of os-release(5) -> platform."""

_IMAGES = ("bottlerocket", "cos", "talos")
"""`ID` of os-release(5) of systems whose sysctls and mounts come from an API or a program at each boot, not from files
that stay. *Source*: Bottlerocket, settings.kernel.sysctl; Talos, machine.sysctls; Container-Optimized OS, disks."""

_BOTTLEROCKET = "apiclient exec admin sheltie systemctl restart"
"""Command that reaches the host: shells run in containers. *Source*: bottlerocket-admin-container 0.7.3, sheltie."""

SERVICES = {
    # try-restart ignores inactive units: a node may have the units of server and agent, and run one of them.
    "k3s": "systemctl try-restart k3s k3s-agent",
    "rke2": "systemctl try-restart rke2-server rke2-agent",
    "k0s": "systemctl try-restart k0sworker k0scontroller",
    "bottlerocket": f"{_BOTTLEROCKET} containerd",  # its kubelet.service is bound to containerd.service
}
"""systemd unit of platforms that run kubelet and container runtime in one service."""

RESTART_CONTAINERD = "containerd config dump >/dev/null && systemctl restart containerd"
"""Restart after a change of the configuration, which is checked first: containerd does not start with a bad one."""


BOOT_CGROUP_V2 = (
    "  grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1  # RHEL, Fedora\n"
    "  sed -i 's/^GRUB_CMDLINE_LINUX=\"/&systemd.unified_cgroup_hierarchy=1 /' /etc/default/grub"
    " && update-grub  # Debian, Ubuntu"
)
"""Commands that add the kernel parameter to the boot loader's entries; one of them does not exist."""


def platforms_of(facts: Facts) -> tuple[str, ...]:
    """Platforms of this node: Kubernetes distribution, then operating system, release before family.

    A node in a container uses the kernel of its host, so packages of its own system do not help.
    """
    name, _, version = (facts.distribution.value or "").partition(" ")
    system = "al2023" if (name, version) == ("amzn", "2023") else _OF_ID.get(name, "")
    kubernetes = facts.kubelet.value.distribution if facts.kubelet.value else ""
    around = nested(facts)
    names = (around, kubernetes) if around else (kubernetes, f"{system}-{version}", system)
    return tuple(each for each in names if each in PLATFORMS)


def is_image(facts: Facts) -> bool:
    """True when something else than files of sysctl.d(5) and fstab(5) decides what a boot sets."""
    return (facts.distribution.value or "").partition(" ")[0] in _IMAGES


def nested(facts: Facts) -> Literal["", "wsl", "container"]:
    """`wsl` or `container` for a node inside another system; empty for a machine."""
    runtime = facts.runtime.value.confinement.value if facts.runtime.value else None
    inside = runtime is not None and runtime.in_initial_user_namespace.value is False
    if facts.kernel.container.value == "wsl" or "microsoft" in (facts.kernel.release.value or ""):
        return "wsl"
    if facts.kernel.container.value or (inside and facts.probe.in_initial_user_namespace.value is False):
        return "container"
    return ""


def restart_kubelet(facts: Facts) -> str:
    """Command that restarts the kubelet of this node."""
    kubelets = SERVICES | {
        "microk8s": "snap restart microk8s.daemon-kubelite",
        "microshift": "systemctl restart microshift",
        "kubeedge": "systemctl restart edgecore",
        "talos": "talosctl service kubelet restart",
        "bottlerocket": f"{_BOTTLEROCKET} kubelet",
    }
    return f"  {own_command(facts, kubelets) or f'systemctl restart {kubelet_unit(facts)}'}"


def kubelet_unit(facts: Facts) -> str:
    """Name of the systemd unit of the kubelet, from its cgroup; else `kubelet`."""
    unit = facts.kubelet.value.unit.value if facts.kubelet.value else None
    return (unit or "kubelet").removesuffix(".service")


def runtime_unit(facts: Facts) -> str:
    """Name of the systemd unit of the container runtime, from its cgroup; empty when that is not known."""
    runtime = facts.runtime.value.confinement.value if facts.runtime.value else None
    return (runtime.unit.value or "").removesuffix(".service") if runtime else ""


def own_command(facts: Facts, commands: dict[str, str]) -> str:
    """Command of the first platform of this node in *commands*."""
    return next((commands[each] for each in platforms_of(facts) if each in commands), "")


def quoted(path: str) -> str:
    """*path* as one word of a bash command, always on one line."""
    if path.isprintable():
        return shlex.quote(path)
    content = path.encode("utf-8", "surrogateescape").replace(b"\\", b"\\\\").replace(b"'", b"\\'")
    return "$'" + "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in content) + "'"


def inline(text: str) -> str:
    """*text* as part of a sentence; it cannot begin a line, so it cannot look like a command."""
    return "".join(char if char.isprintable() else "?" for char in text)
