"""Find the kubelet processes of this node and their Kubernetes distribution."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from probe.facts.kubelet.k3s import K3s, gather_k3s, is_k3s
from probe.host.host import Host, Process
from probe.reading import Reading

_RENAMED = re.compile(r"\.?kubelet[._-][\w.+-]{1,60}", re.ASCII)
_OF_A_KUBELET = ("--kubeconfig", "--bootstrap-kubeconfig", "--config")
Distribution = Literal["kubelet", "k3s", "rke2", "k0s", "microk8s", "microshift", "kubeedge"]


class Daemon(Struct, frozen=True):
    """One running kubelet of this node."""

    process: Process
    distribution: Distribution
    started_at: Reading[float]
    k3s: K3s | None

    @property
    def root(self) -> str:
        """Path to the root of the kubelet, `/proc/PID/root`, which may differ from that of process 1."""
        return f"/proc/{self.process.pid}/root"


def find_kubelets(host: Host, processes: tuple[Process, ...]) -> tuple[list[Daemon], Reading[bool] | None]:
    """All kubelets of the node, and the problem of a process that may be one but could not be read.

    Processes of Pods do not count, whatever their name. One of an unusual name counts where there is no other.
    """
    known = [(process, found) for process in processes if (found := _looks_like(process))]
    daemons, undecided = _daemons(host, processes, known)
    if not daemons and undecided is None:
        daemons, undecided = _daemons(host, processes, [(one, "kubelet") for one in processes if _renamed(host, one)])
    return daemons, undecided


def _daemons(
    host: Host, processes: tuple[Process, ...], candidates: Sequence[tuple[Process, Distribution]]
) -> tuple[list[Daemon], Reading[bool] | None]:
    names = {process.pid: process.name for process in processes}
    daemons: list[Daemon] = []
    undecided: Reading[bool] | None = None
    for process, distribution in candidates:
        ours = host.node_daemon(process.pid)
        if ours.value is None and ours.kind != "absent":
            undecided = ours
        if not ours.value:
            continue
        if distribution == "kubelet":
            distribution = _distribution(host, process.pid, names)
        k3s = gather_k3s(host, process) if distribution == "k3s" else None
        if k3s is None or k3s.runs_kubelet:
            daemons.append(Daemon(process, distribution, host.started_at(process.pid), k3s))
    return daemons, undecided


def _looks_like(process: Process) -> Distribution | None:
    """Distribution of the kubelet that a process is by its name and arguments; None for other programs."""
    if not process.argv:  # a zombie
        return None
    if is_k3s(process):
        return "k3s"
    program = os.path.basename(process.argv[0])
    if "kubelite" in (process.name, program):
        return "microk8s"
    if "microshift" in (process.name, program):
        return "microshift" if process.argv[1:2] == ("run",) else None
    if "edgecore" in (process.name, program):
        return (
            None if {"--version", "--help", "-h", "--minconfig", "--defaultconfig"} & set(process.argv) else "kubeedge"
        )
    if "kubelet" in (process.name, program) or (program == "hyperkube" and process.argv[1:2] == ("kubelet",)):
        return None if {"--version", "--help", "-h"} & set(process.argv) else "kubelet"
    return None


def _renamed(host: Host, process: Process) -> bool:
    """Whether a process is a kubelet under another name: `kubelet-1.34.1`, `.kubelet-wrapped` of NixOS, `exec -a`."""
    if not any(argument.partition("=")[0] in _OF_A_KUBELET for argument in process.argv[1:]):
        return False
    if not host.node_daemon(process.pid).value:
        return False
    executable = os.path.basename(host.read_link(f"/proc/{process.pid}/exe").value or "")
    return executable == "kubelet" or bool(_RENAMED.fullmatch(os.path.basename(process.argv[0])))


def _distribution(host: Host, pid: int, names: dict[int, str]) -> Distribution:
    """Distribution of a plain kubelet by its parent: rke2 and k0s run it as a child."""
    parent = (host.process_status(pid).value or {}).get("PPid", "")
    name = names.get(int(parent), "") if parent.isdecimal() else ""
    executable = host.read_link(f"/proc/{pid}/exe").value or ""
    if name.startswith("rke2") or "/rancher/rke2/" in executable:
        return "rke2"
    if name.startswith("k0s") or "/k0s/bin/" in executable:
        return "k0s"
    return "kubelet"
