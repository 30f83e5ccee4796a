"""Devices and image volumes of a Pod against the hazards of the node."""

from __future__ import annotations

from collections.abc import Iterator

from probe.pod.api import minor_version
from probe.pod.model import Hazard, Node, Pod, Reason
from probe.pod.walk import KEEP_HOST, containers, reason

_NATIVE = "kubernetes.io"
_IMAGE_VOLUMES_SINCE = {"containerd": (2, 1), "cri-o": (1, 31)}
_IMAGE_VOLUMES_ON_SINCE = (1, 35)
"""First release of Kubernetes with the gate ImageVolume on."""


def judge_devices(pod: Pod, node: Node) -> Iterator[Reason]:
    """A Reason for each device that something else gives the Pod: what comes with it was not tried."""
    hazard = node.hazards.get("hazard-device-hooks")
    words = "what comes with a device was not tried; its node is usable only if others may read and write it"
    if hazard and hazard.status == "warn":
        words += "; " + (hazard.message or "this node has device hooks, which run with the Pod's own IDs")
    way = f"run one such Pod here, or {KEEP_HOST}"
    for field in _devices(pod):
        yield reason(field, "unknown", "unknown", "DeviceNotTried", words, way)


def judge_image_volume(field: str, node: Node) -> Reason:
    """The Reason of a volume of type image, whose layers containerd maps from 2.1.7 and 2.2.2 on, and CRI-O always."""
    hazard = node.hazards.get("hazard-image-volumes", Hazard(status="unknown"))
    version = minor_version(node.kubelet_version)
    if hazard.status == "warn":
        message = hazard.message or "this containerd asks for an idmapped mount of the image, which kernels refuse"
        remediation = hazard.remediation or "upgrade containerd to 2.1.7, 2.2.2 or newer"
        return reason(field, "fails", "kernel-and-driver", "ImageVolumes", message, remediation)
    if version is None or version < _IMAGE_VOLUMES_ON_SINCE:
        message = "the gate ImageVolume, on by default from Kubernetes 1.35, is not visible on a node"
        return reason(field, "unknown", "unknown", "ImageVolumes", message, "upgrade to Kubernetes 1.35")
    since = _IMAGE_VOLUMES_SINCE.get(node.runtime_name)
    number = minor_version(node.runtime_version)
    if since is None or number is None:
        message = "what this container runtime does with volumes of type image is not known"
        return reason(field, "unknown", "unknown", "ImageVolumes", message, KEEP_HOST)
    runtime = f"{node.runtime_name} {node.runtime_version}"
    if number < since:
        message = f"{runtime} has no volumes of type image"
        return reason(field, "fails", "kernel-and-driver", "ImageVolumes", message, "upgrade the container runtime")
    if hazard.status == "unknown":
        message = f"whether {runtime} maps volumes of type image is not known"
        return reason(field, "unknown", "unknown", "ImageVolumes", message, KEEP_HOST)
    return reason(field, "runs", "kernel-and-driver", "ImageVolumes", f"{runtime} maps volumes of type image")


def _devices(pod: Pod) -> Iterator[str]:
    for name in pod.devices:
        yield f"metadata.annotations[{name!r}]"
    for index, _ in enumerate(pod.spec.resource_claims or ()):
        yield f"{pod.path}.resourceClaims[{index}]"
    for path, container in containers(pod):
        resources = container.resources
        if resources is None:
            continue
        for name in {**(resources.limits or {}), **(resources.requests or {})}:
            if _is_extended(name):
                yield f"{path}.resources.limits[{name!r}]"


def _is_extended(name: str) -> bool:
    """True for `nvidia.com/gpu`; native ones have no domain, or Kubernetes' own. *Source*: core/v1 helpers."""
    domain, slash, _ = name.rpartition("/")
    return bool(slash) and domain != _NATIVE and not domain.endswith(f".{_NATIVE}")
