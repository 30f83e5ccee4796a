"""Devices and image volumes of a Pod against the devices and hazards of the node."""

from __future__ import annotations

import re
from collections.abc import Iterator

from probe.devices import OF_PLUGINS, DeviceKind, is_of
from probe.pod.api import minor_version
from probe.pod.model import Hazard, Node, Origin, Pod, Reason
from probe.pod.spec import Container
from probe.pod.walk import KEEP_HOST, containers, reason
from probe.tables.gates import IMAGE_VOLUME

_NATIVE = "kubernetes.io"
_NAMES = 50
_ZERO = re.compile(r"[-+]?(0+\.?0*|\.0+)([eE][-+]?\d+|[numkMGTPE]|[KMGTPE]i)?")
"""*Source*: Quantity of apimachinery."""
_IMAGE_VOLUMES_SINCE = {"containerd": (2, 1), "cri-o": (1, 31)}


def judge_devices(pod: Pod, node: Node) -> Iterator[Reason]:
    """A Reason for each device that the Pod requests, by the node's kinds of devices where one is surely meant."""
    for field, names, runs_as_root in _devices(pod):
        if not names:
            yield _not_known(field, node, "unknown which device its driver gives the Pod until it has a node")
        for name in names:
            yield _judge(field, name, runs_as_root, pod, node)


def _judge(field: str, name: str, runs_as_root: bool, pod: Pod, node: Node) -> Reason:
    """The Reason of a resource `nvidia.com/gpu`, or of a CDI device `nvidia.com/gpu=0`."""
    resource, _, device = name.partition("=")
    handler = pod.handler if pod.spec.runtime_class_name else ""
    if handler is None:
        return _not_known(field, node, f"{name} depends on the runtime handler, which is unknown")
    rows = _rows(resource, handler, node)
    if not rows:
        return _not_known(field, node, _why_no_row(resource, handler, node))
    answers = [(row, row.devices.get(device, "unknown") if device else row.outcome) for row in rows]
    failing = next((row for row, answer in answers if answer == "fails"), None)
    doubtful = next((row for row, answer in answers if answer != "works"), None)
    if failing is not None and (len(answers) == 1 or all(answer == "fails" for _, answer in answers)):
        cause = failing.causes[0] if failing.causes else None
        word, way = (cause.reason, cause.remediation) if cause else ("DeviceFails", "")
        origin: Origin = "tried" if word == "MountNotIdmappable" else "rule"
        return reason(field, "fails", origin, word, f"{name}: {failing.message}", way or KEEP_HOST)
    if doubtful is not None:
        if device and device not in doubtful.devices:
            return _not_known(field, node, f"no CDI specification that the probe read names {name}")
        return _not_known(field, node, f"{name} is {doubtful.outcome} here: {doubtful.message}")
    row = rows[0]
    if not runs_as_root and node.oci_runtimes.get(handler) == "crun":
        message = f"{name}: crun makes device nodes that belong to the Pod's root, and this container has another user"
        return _not_known(field, node, message)
    return reason(field, "runs", "tried" if row.tried else "rule", "DeviceWorks", f"{name}: {row.message}")


def _rows(resource: str, handler: str, node: Node) -> list[DeviceKind]:
    """Rows of that kind for the Pod's handler; the kind that a plugin of the vendor writes for itself is the same."""
    kinds = (resource, OF_PLUGINS + resource)
    return [row for row in node.devices or () if row.kind in kinds and is_of(row, handler)]


def _why_no_row(resource: str, handler: str, node: Node) -> str:
    vendor = resource.rpartition("/")[0]
    if node.devices is None:
        return "the node's devices are unknown"
    own = [row for row in node.devices if is_of(row, handler)]
    if handler and node.devices and not own:
        return f"the node's report has no device for the handler {handler}"
    others = sorted({row.kind for row in own if row.kind.rpartition("/")[0] == vendor})
    if others:
        return f"this node has no device {resource}; of the same vendor it has {', '.join(others[:5])}"
    return f"the node's report has no device of the kind {resource}, so its mounts and hooks were not tried"


def _not_known(field: str, node: Node, why: str) -> Reason:
    hazard = node.hazards.get("hazard-device-hooks")
    if node.devices is None and hazard and hazard.status == "warn":
        why += "; " + (hazard.message or "this node has devices that Pods with a user namespace cannot use")
    return reason(field, "unknown", "unknown", "DeviceNotTried", why, f"run one such Pod here, or {KEEP_HOST}")


def judge_image_volume(field: str, node: Node) -> Reason:
    """The Reason of a volume of type image, whose layers containerd maps from 2.1.7 and 2.2.2 on, and CRI-O always."""
    hazard = node.hazards.get("hazard-image-volumes", Hazard(status="unknown"))
    version = minor_version(node.kubelet_version)
    if hazard.status == "warn":
        message = hazard.message or "this containerd asks the kernel to idmap the image's mount, which kernels refuse"
        remediation = hazard.remediation or "upgrade containerd to 2.1.7, 2.2.2 or newer"
        return reason(field, "fails", "kernel-and-driver", "ImageVolumes", message, remediation)
    stage = IMAGE_VOLUME.at(version) if version else None
    if stage is None or not stage.default:
        message = "the gate ImageVolume, on by default from Kubernetes 1.35, is not visible on a node"
        return reason(field, "unknown", "unknown", "ImageVolumes", message, "upgrade to Kubernetes 1.35")
    since = _IMAGE_VOLUMES_SINCE.get(node.runtime_name)
    number = minor_version(node.runtime_version)
    if since is None or number is None:
        message = "unknown what this container runtime does with volumes of type image"
        return reason(field, "unknown", "unknown", "ImageVolumes", message, KEEP_HOST)
    runtime = f"{node.runtime_name} {node.runtime_version}"
    if number < since:
        message = f"{runtime} has no volumes of type image"
        return reason(field, "fails", "kernel-and-driver", "ImageVolumes", message, "upgrade the container runtime")
    if hazard.status == "unknown":
        message = f"unknown whether {runtime} maps volumes of type image"
        return reason(field, "unknown", "unknown", "ImageVolumes", message, KEEP_HOST)
    return reason(field, "runs", "kernel-and-driver", "ImageVolumes", f"{runtime} maps volumes of type image")


def _devices(pod: Pod) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """(field, names of what is requested, whether as root); without names where only a driver knows them."""
    for key, value in pod.devices.items():
        names = tuple(name.strip() for name in value.split(",", _NAMES))
        yield f"metadata.annotations[{key!r}]", names if all(map(_is_device, names)) else (), True
    for index, _ in enumerate(pod.spec.resource_claims or ()):
        yield f"{pod.path}.resourceClaims[{index}]", (), True
    for path, container in containers(pod):
        resources = container.resources
        if resources is None:
            continue
        limits, requests = resources.limits or {}, resources.requests or {}
        for name, quantity in {**requests, **limits}.items():
            if _is_extended(name) and not is_zero(quantity):
                part = "limits" if name in limits else "requests"
                yield f"{path}.resources.{part}[{name!r}]", (name,), _runs_as_root(pod, container)


def is_zero(quantity: str | float) -> bool:
    """True for the quantity 0, which charts write where no device is wanted, with or without a unit."""
    return _ZERO.fullmatch(str(quantity)) is not None


def _is_device(name: str) -> bool:
    """True for a CDI device `nvidia.com/gpu=0`; runtimes refuse a container with any other name."""
    kind, _, device = name.partition("=")
    return "/" in kind and bool(device) and "," not in device


def _runs_as_root(pod: Pod, container: Container) -> bool:
    """False when the container is known to run as another user; an image may also name one, which nobody sees here."""
    own = container.security_context.run_as_user if container.security_context else None
    whole = pod.spec.security_context.run_as_user if pod.spec.security_context else None
    user = whole if own is None else own
    return not user


def _is_extended(name: str) -> bool:
    """True for `nvidia.com/gpu`; native ones have no domain, or Kubernetes' own. *Source*: core/v1 helpers."""
    domain, slash, _ = name.rpartition("/")
    return bool(slash) and domain != _NATIVE and not domain.endswith(f".{_NATIVE}")
