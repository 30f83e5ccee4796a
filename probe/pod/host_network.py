"""hostNetwork with a user namespace: the separate answers of API server, Node, CRI and the runtime's release."""

from __future__ import annotations

from probe.pod.model import HostNetwork, Node, Pod, Reason
from probe.pod.walk import KEEP_HOST, reason
from probe.tables.gates import HOST_NETWORK
from probe.tables.host_network import RUNTIMES, supports
from probe.tables.version import spelled

GATE = HOST_NETWORK.name
_SINCE = spelled(HOST_NETWORK.stages[0].since)
_WAY = f"take hostNetwork out, or {KEEP_HOST}"


def judge_host_network(pod: Pod, node: Node, forbidden: str) -> Reason:
    """Refused, unless the Node declares it: then the API server's gate decides, which nothing shows."""
    field, told = f"{pod.path}.hostNetwork", _told(pod, node)
    runtime = _release(node, told)
    layers = f"{_declared(node)}, {_claim(told)}, {runtime}"
    if GATE in (node.declared_features or ()):
        message = f"{layers}; whether the API server allows it (gate {GATE}) is not visible"
        return reason(field, "unknown", "unknown", "HostNetworkGate", message, _WAY)
    message = f"{forbidden}, unless the alpha gate {GATE} ({_SINCE}) is on; {layers}"
    return reason(field, "refused", "rule", "RefusedByApiServer", message, _WAY)


def _told(pod: Pod, node: Node) -> HostNetwork:
    """The facts of the Pod's handler; of one that is in no report, the runtime's release alone."""
    handler = pod.handler if pod.spec.runtime_class_name else ""
    if handler is not None and handler in node.host_network:
        return node.host_network[handler]
    return HostNetwork(supported=supports(node.runtime_name, node.runtime_version))


def _declared(node: Node) -> str:
    if node.declared_features is None:
        return "unknown what the Node declares"
    return f"the Node {'declares' if GATE in node.declared_features else 'does not declare'} it"


def _claim(told: HostNetwork) -> str:
    words = {True: "CRI says that its runtime supports it", False: "CRI says that it does not"}
    return words[told.claimed] if told.claimed is not None else "unknown what CRI says"


def _release(node: Node, told: HostNetwork) -> str:
    since = next((spelled(one.supports) for one in RUNTIMES if one.name == node.runtime_name), "")
    name = f"{node.runtime_name} {node.runtime_version}".strip()
    if told.supported is None or not since:
        return "unknown whether the container runtime supports it"
    if told.supported:
        return f"{name} supports it"
    return f"the handler does not support it in {name} (releases do since {since})"
