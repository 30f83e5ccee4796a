"""Nodes: what their annotations are worth, their rows, and what they tell the Pod question. Pure."""

from __future__ import annotations

from msgspec import Struct

from probe.fleet import wire_nodes
from probe.fleet.agent import agent_of, verdict_of
from probe.fleet.rows import NodeRow
from probe.outputs.annotations import LABEL, PREFIX
from probe.outputs.labels import shown
from probe.pod import model
from probe.pod.annotations import CONTRADICTION, node_of_annotations, pairs

KARPENTER = "karpenter.sh/nodepool"
POOL_LABELS = (
    "cloud.google.com/gke-nodepool", "eks.amazonaws.com/nodegroup", "kubernetes.azure.com/agentpool",
    KARPENTER, "node.kubernetes.io/instance-type",
)  # fmt: skip
"""Labels that name the pool of a Node, of which the first counts."""
HOSTNAME = "kubernetes.io/hostname"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
ON_UNKNOWN_NODE = -2
NO_POOL = "(none)"
SHOWN = 120
"""Bytes of a name or version that is shown."""

_MESSAGES = {
    "WindowsNode": "Windows has no user namespaces",
    "VirtualKubelet": "no agent runs on a virtual kubelet",
    "ReportStale": "the agent's annotations are older than a day",
    "OtherBoot": "the agent's annotations are of another boot of the node",
    "Malformed": CONTRADICTION,
    "WrittenByOthers": "another field manager than userns-probe wrote the annotations",
    "ClocksDiffer": "the agent's annotations were written later than now: clocks differ",
}


class Place(Struct, frozen=True, gc=False):
    """The facts of a Node that scheduling and the Pod question need."""

    name: str
    pool: str
    host: str
    """Value of `kubernetes.io/hostname`."""
    labels: tuple[tuple[str, str], ...]
    """All others; thousands of nodes share one tuple."""
    taints: tuple[wire_nodes.Taint, ...]
    profile: int
    label: str


def labels_of(place: Place) -> dict[str, str]:
    """All labels of the Node."""
    return {**dict(place.labels), HOSTNAME: place.host}


class Group(Struct, frozen=True, gc=False):
    """Nodes that differ in nothing that counts for the Pods that run there."""

    pool: str
    profile: int
    label: str


class Nodes:
    """The Nodes of a cluster, folded from pages."""

    def __init__(self, now: float, pool_label: str = "") -> None:
        """*now*: seconds since the epoch. *pool_label*: the label that names the pool; empty: those of the clouds."""
        self._now, self._pool_labels = now, (pool_label,) if pool_label else POOL_LABELS
        self.complete = True
        """Whether all Nodes were read."""
        self.rows: list[NodeRow] = []
        self.clusters: set[tuple[str, str]] = set()
        """(Namespace, name) of the Cluster of Cluster API that Nodes say they are of."""
        self.places: dict[str, Place] = {}
        self.profiles: list[model.Node] = []
        self.groups: list[Group] = []
        self._groups: dict[Group, int] = {}
        self._group_of: dict[str, int] = {}
        self._known: dict[tuple[str, ...], int] = {}
        self._labels: dict[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = {}
        self._words: dict[str, str] = {}

    def add(self, nodes: list[wire_nodes.Node]) -> None:
        """Fold a page."""
        for node in nodes:
            self._add(node)

    def group_of(self, name: str) -> int:
        """Index of the group of Node *name*; ON_UNKNOWN_NODE for one that was not read."""
        return self._group_of.get(name, ON_UNKNOWN_NODE)

    def _add(self, node: wire_nodes.Node) -> None:
        labels, info, said = node.metadata.labels or {}, node.status.node_info, node.metadata.annotations
        agent = agent_of(node, self._now)
        verdict, reason = verdict_of(agent, said, node)
        row = NodeRow(
            name=node.metadata.name,
            pool=self._word(pool_of(labels, self._pool_labels)),
            verdict=verdict,
            reason=self._word(reason),
            agent=agent,
            label=self._word(labels.get(LABEL, "")),
            os=self._word(info.os),
            kernel=self._word(info.kernel_version),
            kubelet=self._word(info.kubelet_version),
            runtime=self._word(info.runtime_version),
            refused=tuple(map(self._word, _refused(said.filesystems))) if said and agent == "fresh" else (),
            capacity=_capacity(said.id_range) if said and agent == "fresh" else None,
            agent_version=self._word(said.agent_version if said else ""),
        )
        self.rows.append(row)
        if said and said.cluster_api_name:
            self.clusters.add((said.cluster_api_namespace, said.cluster_api_name))
        host = labels.pop(HOSTNAME, row.name)
        others = tuple(sorted(labels.items()))
        self.places[row.name] = Place(
            name=row.name,
            pool=row.pool,
            host=row.name if host == row.name else host,
            labels=self._labels.setdefault(others, others),
            taints=node.spec.taints or (),
            profile=self._profile(row, said, node),
            label=row.label,
        )
        group = Group(row.pool, self.places[row.name].profile, row.label)
        if group not in self._groups:
            self._groups[group] = len(self.groups)
            self.groups.append(group)
        self._group_of[row.name] = self._groups[group]

    def _word(self, text: str) -> str:
        """*text*, once for all nodes that say it, with all that is not plainly visible escaped."""
        return self._words.setdefault(text, shown(text, SHOWN))

    def _profile(self, row: NodeRow, said: wire_nodes.OwnAnnotations | None, node: wire_nodes.Node) -> int:
        said = said if said is not None and row.agent == "fresh" else wire_nodes.OwnAnnotations()
        key = (
            row.verdict, row.reason, row.agent, row.os, row.kernel, row.kubelet, row.runtime, said.levels,
            said.oci_runtimes, said.id_range, said.report, str(node.status.runtime_handlers),
            *(node.status.declared_features or ()),
        )  # fmt: skip
        if key not in self._known:
            self._known[key] = len(self.profiles)
            self.profiles.append(_profile(row, said, node))
        return self._known[key]


def pool_of(labels: dict[str, str], names: tuple[str, ...]) -> str:
    """The pool that *labels* name, by the first of *names*; else the control plane, or none."""
    for name in names:
        if labels.get(name):
            return labels[name]
    return "control-plane" if CONTROL_PLANE in labels else NO_POOL


def _profile(row: NodeRow, said: wire_nodes.OwnAnnotations, node: wire_nodes.Node) -> model.Node:
    """The facts of *row* for the Pod question: nothing of the agent's unless its annotations are fresh."""
    annotations = {key: getattr(said, name) for name, key in wire_nodes.OWN_KEYS.items()}
    if row.agent != "fresh":
        words = _MESSAGES.get(row.reason, "the agent has published nothing on this Node")
        annotations = {f"{PREFIX}reason": row.reason, f"{PREFIX}message": words}
    info = node.status.node_info
    return node_of_annotations(
        annotations,
        name=row.name,
        kernel_release=info.kernel_version,
        kubelet_version=info.kubelet_version,
        runtime=info.runtime_version,
        offered={
            one.name: one.features.user_namespaces if one.features else None
            for one in node.status.runtime_handlers or ()
        },
        declared_features=node.status.declared_features or (),
    )


def _refused(filesystems: str) -> tuple[str, ...]:
    return tuple(
        f"{role}={one.partition(':')[0]}"
        for role, results in pairs(filesystems).items()
        for one in results.split("+")
        if one.endswith(":refused") or one == "refused"
    )


def _capacity(id_range: str) -> int | None:
    numbers = {key: _number(value) for key, value in pairs(id_range).items()}
    count, each = numbers.get("count"), numbers.get("ids-per-pod")
    return count // each if count is not None and each else None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else None
