"""The inventory: everything that is said about a cluster, in one immutable, versioned document."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from probe.fleet.rows import EnforceRow, EvidenceRow, Lists, NamespaceRow, NodeRow, PolicyRow, PoolRow, WorkloadRow

SCHEMA: Literal["userns-probe.io/fleet/v1"] = "userns-probe.io/fleet/v1"


class Section(Struct, frozen=True, kw_only=True):
    """Outcome of reading one kind of object."""

    name: str
    state: Literal["read", "partial", "unknown", "not-served"]
    """`unknown`: not read, see `problem`; `partial`: some objects could not be decoded; `not-served`: no such API."""
    objects: int = 0
    skipped: int = 0
    problem: str = ""
    resource_versions: tuple[str, ...] = ()
    """Several, when the list went on with a later state of the cluster after its token had expired."""


class Summary(Struct, frozen=True, kw_only=True):
    """Counts over the whole inventory."""

    nodes: int
    ready: int
    not_ready: int
    unknown: int
    pods: int
    asking: int
    running_isolated: int
    workloads: int
    lists: Lists
    unconfined: int
    """Workloads that ask, and whose scheduling is not confined."""
    host_namespaces: int
    """Workloads that use namespaces of the node."""
    namespaces: int
    pinned: int
    policies: int
    contradictions: int


class Inventory(Struct, frozen=True, kw_only=True):
    """The inventory of a cluster."""

    schema: Literal["userns-probe.io/fleet/v1"] = SCHEMA
    agent_version: str
    cluster: str
    """The name that was given, or of the kubeconfig's context."""
    server_version: str
    namespace: str
    """The only namespace whose workloads were read; empty: all."""
    taken_at: str
    """RFC 3339, UTC, by the API server's clock where known."""
    seconds: float
    """Time that reading took: the inventory is not a snapshot."""
    clock_skew_seconds: float
    """This machine's clock minus the API server's, when it is more than a minute; else 0."""
    sections: tuple[Section, ...]
    summary: Summary
    pools: tuple[PoolRow, ...]
    nodes: tuple[NodeRow, ...]
    workloads: tuple[WorkloadRow, ...]
    namespaces: tuple[NamespaceRow, ...]
    policies: tuple[PolicyRow, ...]
    enforcement: tuple[EnforceRow, ...]
    evidence: tuple[EvidenceRow, ...]


def section_of(inventory: Inventory, name: str) -> Section:
    """The section *name*; one that was not asked for is unknown."""
    for section in inventory.sections:
        if section.name == name:
            return section
    return Section(name=name, state="unknown", problem="not asked for")
