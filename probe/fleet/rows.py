"""Rows of the inventory: nodes, pools, workloads, namespaces, policies, enforcement and evidence."""

from __future__ import annotations

from typing import Literal, TypedDict

from msgspec import Struct

from probe.verdict import Verdict

Agent = Literal["fresh", "missing", "stale", "other-boot", "malformed", "foreign", "future", "not-applicable"]
"""Validity of a Node's annotations.

`foreign`: another field manager than userns-probe wrote them; `future`: they were written later than now, so clocks
differ; `not-applicable`: Windows nodes and virtual kubelets have no agent. Only `fresh` ones give a verdict.
"""
List = Literal["isolated", "fails", "asked-unknown", "movable", "blocked", "unknown"]
"""The list of a workload.

Workloads that ask: `isolated` (runs with a user namespace on each node that it can reach), `fails` (will fail or be
ignored on some), `asked-unknown`. Others: `movable` (would run with `hostUsers: false` on each node that it can
reach, or on those that `userns-probe.io/ready` selects), `blocked` (would not), `unknown`.
"""
Lists = TypedDict(
    "Lists", {"fails": int, "isolated": int, "asked-unknown": int, "movable": int, "blocked": int, "unknown": int}
)
"""List -> workloads."""
LISTS: tuple[List, ...] = ("fails", "isolated", "asked-unknown", "movable", "blocked", "unknown")
Effect = Literal["require", "default", "forbid", "confine", "unclear"]
"""Effect of a policy on `hostUsers: false`.

It requires it, sets it where the field is absent, refuses it, ties it to the label `userns-probe.io/ready`, or none of
these for sure.
"""
Safe = Literal["yes", "no", "unknown"]


class NodeRow(Struct, frozen=True, kw_only=True, gc=False):
    """A Node."""

    name: str
    pool: str
    verdict: Verdict
    reason: str
    """CamelCase; empty when ready."""
    agent: Agent
    label: str
    """Value of `userns-probe.io/ready`; empty without it."""
    os: str
    kernel: str
    kubelet: str
    runtime: str
    refused: tuple[str, ...]
    """`kubelet-root=overlay`: file systems that every Pod needs and that cannot be idmapped."""
    capacity: int | None
    """Pods with a user namespace for which the kubelet has IDs."""
    agent_version: str


class Count(Struct, frozen=True, gc=False):
    """A value and the number of nodes that have it."""

    value: str
    nodes: int


class PoolRow(Struct, frozen=True, kw_only=True):
    """The nodes of a pool."""

    name: str
    nodes: int
    ready: int
    not_ready: int
    unknown: int
    reasons: tuple[Count, ...]
    agents: tuple[Count, ...]
    """Nodes by `agent`, without `fresh`."""
    kernels: tuple[Count, ...]
    kubelets: tuple[Count, ...]
    runtimes: tuple[Count, ...]
    refused: tuple[Count, ...]
    capacity: int | None
    """Sum of the nodes that tell it; None when none does."""


class Because(Struct, frozen=True, kw_only=True, gc=False):
    """A reason for the list of a workload."""

    reason: str
    field: str
    message: str
    remediation: str
    source: str
    nodes: int
    """Reachable nodes for which it holds."""


class WorkloadRow(Struct, frozen=True, kw_only=True, gc=False):
    """A workload: the topmost known controller of its Pods."""

    namespace: str
    kind: str
    name: str
    resolved: Literal["owner", "name", "pod", "mirror"]
    """How it was found: by owner references; by the name of a ReplicaSet that could not be read; a Pod of its own;
    a static Pod, by its mirror."""
    list: List
    pods: int
    """Pods that have not finished."""
    asking: int
    """Pods of these with `hostUsers: false`."""
    running_isolated: int
    """Running Pods with `hostUsers: false` on nodes for which the answer is `runs`."""
    confined: bool
    """Whether scheduling admits only nodes with `userns-probe.io/ready: "true"`, or none with `false`."""
    host_namespaces: tuple[str, ...]
    """Namespaces of the node that its Pods use: `network`, `pid`, `ipc`."""
    shapes: int
    """Different specs among its Pods."""
    pools: tuple[Count, ...]
    """Nodes of its Pods; Count.nodes counts Pods."""
    reachable: int
    """Nodes that its selector, required affinity, tolerations and volumes admit."""
    reachable_runs: int
    reachable_fails: int
    reachable_unknown: int
    because: tuple[Because, ...]
    """The most frequent reasons first."""
    needs: tuple[str, ...]
    """Change that moves it; empty when only `hostUsers: false` is to be set, or it is not movable."""
    ease: int
    """Order among the movable, the easiest first."""


class NamespaceRow(Struct, frozen=True, kw_only=True):
    """A namespace, its Pod Security levels and what `hostUsers: false` changes in them."""

    name: str
    enforce: str
    """`restricted:latest`; `default (not visible)` without a label."""
    warn: str
    audit: str
    pinned: bool
    """Whether a version below 1.35 keeps the relaxation for user namespaces away."""
    relaxed: str
    """Requirements of its enforced level that no longer apply to Pods with `hostUsers: false`."""
    workloads: int
    pods: int
    asking: int


class PolicyRow(Struct, frozen=True, kw_only=True):
    """An admission policy that mentions `hostUsers`."""

    kind: str
    name: str
    namespace: str
    effect: Effect
    actions: tuple[str, ...]
    """`Deny`, `Warn`, `Audit`, or what Kyverno calls it; empty without a binding."""
    scope: tuple[str, ...]
    """Of each binding, in words."""


class Breaks(Struct, frozen=True, kw_only=True):
    """Something that breaks when `hostUsers: false` is enforced now."""

    what: str
    reason: str
    message: str


class EnforceRow(Struct, frozen=True, kw_only=True):
    """Answer for a namespace or a pool: can `hostUsers: false` be enforced there now?"""

    of: Literal["namespace", "pool"]
    name: str
    safe: Safe
    breaks: tuple[Breaks, ...]
    unknown: tuple[Breaks, ...]


class EvidenceRow(Struct, frozen=True, kw_only=True):
    """A node's counters in Prometheus, with its verdict."""

    node: str
    verdict: Verdict
    attempts: float
    """Increase of kubelet_started_user_namespaced_pods_total."""
    errors: float
    """Increase of kubelet_started_user_namespaced_pods_errors_total."""
    contradiction: bool
    """All attempts failed on a ready node."""
