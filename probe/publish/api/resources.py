"""The resources of the Kubernetes API that userns-probe writes, as lightkube names them."""

from __future__ import annotations

from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import (
    GenericGlobalResource,
    GenericGlobalStatus,
    GenericNamespacedResource,
    create_api_info,
)


class Node(GenericGlobalResource):
    """A Node as plain JSON, so that no field of a newer server can fail to decode."""

    _api_info = create_api_info("", "v1", "Node", "nodes")


class NodeStatus(GenericGlobalStatus):
    """The status subresource of a Node."""

    _api_info = ApiInfo(
        resource=ResourceDef("", "v1", "Node"),
        parent=ResourceDef("", "v1", "Node"),
        plural="nodes",
        verbs=["get", "patch"],
        action="status",
    )


class CoreEvent(GenericNamespacedResource):
    """A core/v1 Event."""

    _api_info = create_api_info("", "v1", "Event", "events")
