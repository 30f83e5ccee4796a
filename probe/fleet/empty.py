"""Pools of size 0: whether what an autoscaler takes for a node of theirs has our label. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct, field

from probe.fleet.nodes import KARPENTER, Nodes
from probe.fleet.wire_nodes import ConfigMap, Machines, NodePool
from probe.outputs.annotations import LABEL
from probe.pod.documents import parse_documents
from probe.publish.api.interface import Failure

MAX_SIZE = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size"
"""Annotation of what cluster-autoscaler may scale."""
LABELS = "capacity.cluster-autoscaler.kubernetes.io/labels"
"""Annotation with the labels that it expects of a node: of Cluster API's template only few prefixes reach Nodes."""
AWS_TAG = f"k8s.io/cluster-autoscaler/node-template/label/{LABEL}"


_MACHINES = tuple(f"Machine{kind}/" for kind in ("Deployment", "Set", "Pool"))


class Empty(Struct, frozen=True):
    """A pool without nodes."""

    name: str
    promised: bool | None
    """Whether its template promises our label; None when no API shows the template."""
    words: str


class _Health(Struct, rename="camel"):
    cloud_provider_target: int | None = None
    max_size: int = 0


class _Group(Struct):
    name: str = ""
    health: _Health = field(default_factory=_Health)


class _Status(Struct, rename="camel"):
    autoscaler_status: str
    node_groups: list[_Group] | None = None


def of_karpenter(pools: Iterable[NodePool], nodes: Nodes) -> Iterator[Empty]:
    """NodePools that no Node names."""
    labels = {place.labels for place in nodes.places.values()}
    live = {value for each in labels for key, value in each if key == KARPENTER}
    for pool in pools:
        if pool.metadata.name not in live:
            promised = ((pool.spec.template.metadata and pool.spec.template.metadata.labels) or {}).get(LABEL) == "true"
            yield _told(pool.metadata.name, promised, "template")


def of_cluster_api(kind: str, machines: Iterable[Machines], nodes: Nodes) -> Iterator[Empty]:
    """Those of this cluster that cluster-autoscaler may scale; a management cluster has others' machines, too."""
    for each in machines:
        meta, size = each.metadata, max(each.spec.replicas or 0, each.status.replicas or 0)
        annotations = meta.annotations or {}
        if MAX_SIZE in annotations and not size and (meta.namespace, each.spec.cluster_name) in nodes.clusters:
            found = dict(one.strip().partition("=")[::2] for one in annotations.get(LABELS, "").split(","))
            yield _told(f"{kind}/{meta.namespace}/{meta.name}", found.get(LABEL) == "true", f"annotation {LABELS}")


class NodeGroups:
    """Node groups in the status of cluster-autoscaler, without those of Cluster API, whose objects say more."""

    def __init__(self) -> None:
        self.empty: list[Empty] = []

    def add(self, maps: list[ConfigMap]) -> None:
        """Keep the node groups of size 0 of a page. *Errors*: Failure, for another format."""
        for each in maps:
            for group in _status((each.data or {}).get("status", "")).node_groups or ():
                size = group.health.cloud_provider_target
                if size == 0 and group.health.max_size and not group.name.startswith(_MACHINES):
                    words = f"no API shows its template; on AWS, the tag {AWS_TAG} of its group promises the label"
                    self.empty.append(Empty(group.name, None, words))


def _status(text: str) -> _Status:
    found = next(iter(parse_documents(text.encode())), None)
    try:
        return msgspec.convert(found.value if found else None, _Status)
    except msgspec.ValidationError as error:
        raise Failure(0, "Invalid", "a status in a format other than cluster-autoscaler's since 1.30") from error


def _told(name: str, promised: bool, where: str) -> Empty:
    if promised:
        return Empty(name, True, f"its {where} promises {LABEL}, but no node proves it")
    return Empty(name, False, f"its {where} does not promise {LABEL}: a selector on that label never makes it grow")
