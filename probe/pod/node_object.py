"""A Node of the Pod question from a Node object of Kubernetes."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from probe.pod.model import Node
from probe.pod.node import PREFIX, node_of_annotations


class _Info(Struct, rename="camel"):
    boot_id: str = msgspec.field(name="bootID", default="")
    kernel_version: str = ""
    kubelet_version: str = ""
    container_runtime_version: str = ""


class _Features(Struct, rename="camel"):
    user_namespaces: bool | None = None


class _Handler(Struct):
    name: str = ""
    features: _Features | None = None


class _Status(Struct, rename="camel"):
    node_info: _Info | None = None
    runtime_handlers: tuple[_Handler, ...] | None = None
    declared_features: tuple[str, ...] | None = None


class _Metadata(Struct):
    name: str = ""
    annotations: dict[str, str] | None = None


class _Node(Struct):
    metadata: _Metadata
    status: _Status | None = None


def node_of_object(value: Any) -> tuple[Node, str]:
    """The Node that a Node object tells of, and when its agent published that. *Errors*: msgspec.ValidationError."""
    found = msgspec.convert(value, _Node)
    annotations, status = found.metadata.annotations or {}, found.status or _Status()
    info = status.node_info or _Info()
    node = node_of_annotations(
        annotations,
        name=found.metadata.name,
        boot_id=info.boot_id,
        kernel_release=info.kernel_version,
        kubelet_version=info.kubelet_version,
        runtime=info.container_runtime_version,
        offered={
            one.name: one.features.user_namespaces if one.features else None for one in status.runtime_handlers or ()
        },
        declared_features=status.declared_features or (),
    )
    return node, annotations.get(f"{PREFIX}refreshed-at", "")
