"""Nodes of the Kubernetes API and templates of nodes, of each only the fields that the inventory needs."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from probe.fleet.wire import Meta
from probe.outputs.annotations import PREFIX

OWN_KEYS = {name: f"{PREFIX}{name.replace('_', '-')}" for name in (
    "verdict", "reason", "message", "levels", "filesystems", "oci_runtimes", "id_range", "warnings", "report",
    "boot_id", "agent_version", "refreshed_at",
)}  # fmt: skip


CLUSTER_API = {f"cluster_api_{name}": f"cluster.x-k8s.io/cluster-{name}" for name in ("name", "namespace")}


class OwnAnnotations(Struct, kw_only=True, rename=(OWN_KEYS | CLUSTER_API).get, gc=False):
    """Annotations of userns-probe on a Node, and those that name its Cluster of Cluster API; empty: absent."""

    verdict: str = ""
    reason: str = ""
    message: str = ""
    levels: str = ""
    filesystems: str = ""
    oci_runtimes: str = ""
    id_range: str = ""
    warnings: str = ""
    report: str = ""
    boot_id: str = ""
    agent_version: str = ""
    refreshed_at: str = ""
    cluster_api_name: str = ""
    cluster_api_namespace: str = ""


class ManagedMetadata(Struct, rename={"annotations": "f:annotations"}):
    """Metadata fields of a field manager; each key of an annotation has the prefix `f:`."""

    annotations: dict[str, Any] | None = None


class ManagedFields(Struct, rename={"metadata": "f:metadata"}):
    """Fields of a field manager."""

    metadata: ManagedMetadata | None = None


class Managed(Struct, rename={"fields": "fieldsV1"}):
    """An entry of managedFields."""

    manager: str = ""
    fields: ManagedFields | None = None


class NodeMeta(Struct, rename="camel"):
    """Metadata of a Node."""

    name: str = ""
    labels: dict[str, str] | None = None
    annotations: OwnAnnotations | None = None
    managed_fields: list[Managed] | None = None


class Taint(Struct, frozen=True, gc=False):
    """A taint."""

    key: str
    effect: str = ""
    value: str = ""


class NodeSpec(Struct):
    """Spec of a Node."""

    taints: tuple[Taint, ...] | None = None
    unschedulable: bool | None = None


class NodeInfo(Struct, gc=False, rename={
    "boot_id": "bootID", "kernel_version": "kernelVersion", "kubelet_version": "kubeletVersion",
    "os": "operatingSystem", "runtime_version": "containerRuntimeVersion", "os_image": "osImage",
}):  # fmt: skip
    """`.status.nodeInfo`."""

    boot_id: str = ""
    kernel_version: str = ""
    kubelet_version: str = ""
    runtime_version: str = ""
    os: str = ""
    os_image: str = ""
    architecture: str = ""


class HandlerFeatures(Struct, rename="camel", gc=False):
    """The features of a handler, as the kubelet declares them."""

    user_namespaces: bool | None = None


class RuntimeHandler(Struct, gc=False):
    """A handler of the container runtime; the default one has the empty name."""

    name: str = ""
    features: HandlerFeatures | None = None


class NodeStatus(Struct, rename="camel"):
    """Status of a Node."""

    node_info: NodeInfo = field(default_factory=NodeInfo)
    runtime_handlers: list[RuntimeHandler] | None = None
    declared_features: tuple[str, ...] | None = None


class Node(Struct):
    """A Node."""

    metadata: NodeMeta
    spec: NodeSpec = field(default_factory=NodeSpec)
    status: NodeStatus = field(default_factory=NodeStatus)


class TemplateMeta(Struct):
    """Metadata of a template."""

    labels: dict[str, str] | None = None


class NodeTemplate(Struct):
    """Template of the nodes of a NodePool."""

    metadata: TemplateMeta | None = None


class NodePoolSpec(Struct):
    """Spec of a Karpenter NodePool."""

    template: NodeTemplate = field(default_factory=NodeTemplate)


class NodePool(Struct):
    """A NodePool of karpenter.sh."""

    metadata: Meta
    spec: NodePoolSpec = field(default_factory=NodePoolSpec)


class MachinesSpec(Struct, rename="camel"):
    """Spec of a MachineDeployment, MachineSet or MachinePool."""

    cluster_name: str = ""
    replicas: int | None = None


class MachinesStatus(Struct):
    """Status of one."""

    replicas: int | None = None


class Machines(Struct):
    """A MachineDeployment, MachineSet or MachinePool of Cluster API."""

    metadata: Meta
    spec: MachinesSpec = field(default_factory=MachinesSpec)
    status: MachinesStatus = field(default_factory=MachinesStatus)


class ConfigMap(Struct):
    """A ConfigMap."""

    data: dict[str, str] | None = None
