"""Kubelets that the probe knows of and cannot read: inside of another program, or in a container of the node's own."""

from __future__ import annotations

import re

from probe.host.abstract import node_user_namespace
from probe.host.host import Host, Process
from probe.host.namespaces import INITIAL_USER_NAMESPACE
from probe.host.processes import CONTAINER_CGROUP

_EMBEDDING = {"kubesolo": "KubeSolo"}
"""Programs that have a kubelet among others, by the name of the process."""
_KUBELETS_PORT = re.compile(r"(?m)^ *\d+: [0-9A-F]{8,32}:280A [0-9A-F]{8,32}:0000 0A ")
"""A socket that listens, TCP_LISTEN, on port 10250."""
_NAMES = ("kubelet", "k3s-server", "k3s-agent")
_IN_POD = r"kubepods|/pod[0-9a-f]{8}[-_]"


def find_hidden_kubelet(host: Host, processes: tuple[Process, ...]) -> str:
    """Half a sentence about a kubelet of this node of which nothing can be read; empty when there is none."""
    for process in processes:
        product = _EMBEDDING.get(process.name)
        if product and host.node_daemon(process.pid).value:
            return f"{product} (process {process.pid}) contains a kubelet that the probe cannot read"
        if process.name == "kubelet" and _is_in_container(host, process.pid):
            return f"the kubelet (process {process.pid}) runs in a container of podman or docker without privileges"
    nested = (_nested(host, process) for process in processes if process.name in _NAMES)
    return next(filter(None, nested), "") or _listening(host)


def _listening(host: Host) -> str:
    """Of a program on the kubelet's port that has no known name. *Source*: /proc/net/tcp in proc(5)."""
    tables = (host.read_text(f"/proc/1/net/{name}").value or "" for name in ("tcp", "tcp6"))
    if any(_KUBELETS_PORT.search(table) for table in tables):
        return "a program of a name that the probe does not know listens on port 10250, as a kubelet does"
    return ""


def _nested(host: Host, process: Process) -> str:
    """Of a kubelet of another node, in a container of this machine, or of one without root; empty for a Pod's."""
    cgroup = host.read_text(f"/proc/{process.pid}/cgroup").value
    status = host.process_status(process.pid).value or {}
    if cgroup is None or re.search(_IN_POD, cgroup):
        return ""
    if len(status.get("NSpid", "").split()) > 1:
        where = "in a container with process IDs of its own, as a node of kind, k3d, minikube or LXC"
        return f"a kubelet (process {process.pid}) runs {where}: run the probe in there"
    initial = node_user_namespace(host)
    own = host.read_link(f"/proc/{process.pid}/ns/user").value
    if own and initial and own not in (initial, INITIAL_USER_NAMESPACE):
        return f"a kubelet (process {process.pid}) runs without root, in a user namespace of its own (rootless)"
    return ""


def _is_in_container(host: Host, pid: int) -> bool:
    """Whether that process of root's, in the node's PID and user namespace, is in a container that is not a Pod's."""
    cgroup = host.read_text(f"/proc/{pid}/cgroup").value or ""
    status = host.process_status(pid).value or {}
    return (
        bool(CONTAINER_CGROUP.search(cgroup))
        and not re.search(_IN_POD, cgroup)
        and set(status.get("Uid", "").split()) == {"0"}
        and len(status.get("NSpid", "").split()) == 1
        and host.read_link(f"/proc/{pid}/ns/user").value == node_user_namespace(host)
    )
