"""A Node of the Pod question from one Node object of Kubernetes. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from probe.fleet import wire_nodes
from probe.fleet.agent import VIRTUAL
from probe.fleet.nodes import Nodes
from probe.pod.model import Node


def node_of_object(value: Any, now: float) -> tuple[Node, str]:
    """The Node in a Node object, and when its agent published that.

    *now*: seconds since the epoch; as in the inventory, annotations that are old, another's or malformed do not count.
    *Errors*: msgspec.ValidationError.
    """
    found = msgspec.convert(value, wire_nodes.Node)
    said = found.metadata.annotations
    nodes = Nodes(now)
    nodes.add([found])
    info, node = found.status.node_info, nodes.profiles[0]
    if (found.metadata.labels or {}).get("type") != VIRTUAL:
        node = replace(node, os=info.os, architecture=info.architecture)
    return node, said.refreshed_at if said else ""
