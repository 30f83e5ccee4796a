"""The API server's refusals. *Source*: Kubernetes' validation.go; held against what a 1.36.2 server said."""

from __future__ import annotations

import re
from collections.abc import Iterator

from probe.pod.host_network import judge_host_network
from probe.pod.model import Node, Pod, Reason
from probe.pod.sources import sources_of
from probe.pod.walk import KEEP_HOST, containers, reason
from probe.tables.gates import PROC_MOUNT

MOST = (1 << 31) - 1
"""The largest UID and GID that the API takes."""

HOST_PATH_TYPES = frozenset((
    "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice",
))  # fmt: skip
BIDIRECTIONAL = "Bidirectional"
_VOLUME_DEVICES_SINCE = (1, 34)
_VERSION = re.compile(r"v?(\d{1,3})\.(\d{1,4})")


def minor_version(text: str) -> tuple[int, int] | None:
    """(1, 36) of `v1.36.2`; None when it is none."""
    found = _VERSION.match(text)
    return (int(found[1]), int(found[2])) if found else None


def refusals(pod: Pod, node: Node) -> Iterator[Reason]:
    """An API server's refusals of a Pod with a user namespace. The server is as old as the kubelet, or newer."""
    spec, version = pod.spec, minor_version(node.kubelet_version)
    forbidden = "Forbidden: when `hostUsers` is false"
    yield from _of_windows(pod)
    for name, value in (("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)):
        if value:
            yield _refused(f"{pod.path}.{name}", forbidden, f"take {name} out, or {KEEP_HOST}")
    if spec.host_network:
        yield judge_host_network(pod, node, forbidden)
    for path, container in containers(pod):
        if container.volume_devices:
            yield _volume_devices(f"{path}.volumeDevices", version, forbidden)
        context = container.security_context
        if context and context.proc_mount not in (None, "Default", "Unmasked"):
            yield _refused(f"{path}.securityContext.procMount", "Unsupported value", "Default or Unmasked")


def _of_windows(pod: Pod) -> Iterator[Reason]:
    """A Windows Pod may not set hostUsers, neither to false nor to true."""
    if pod.spec.os is not None and pod.spec.os.name == "windows":
        message = "Forbidden: a Windows Pod has no hostUsers"
        yield _refused(f"{pod.path}.hostUsers", message, "leave hostUsers out")


def refusals_with_host_users(pod: Pod) -> Iterator[Reason]:
    """An API server's refusals of a Pod without a user namespace."""
    if pod.spec.host_users is not None:
        yield from _of_windows(pod)
    for path, container in containers(pod):
        if container.security_context and container.security_context.proc_mount == "Unmasked":
            message = "Invalid value: `hostUsers` must be false to use `Unmasked`"
            yield _refused(f"{path}.securityContext.procMount", message, "set hostUsers: false, or procMount: Default")


def faults(pod: Pod) -> Iterator[Reason]:
    """An API server's refusals of any Pod that the merge of two manifests leaves: see ValidatePodSpec.

    Where something may add what is missing the Reason is unknown: a controller of another API, or a Pod that is
    admitted and given in part.
    """
    yield from _of_values(pod)
    if not pod.spec.containers:
        yield _missing(pod, f"{pod.path}.containers", "ContainersNotKnown", "Required value: no containers")
    for index, volume in enumerate(pod.spec.volumes or ()):
        if len(types := sources_of(volume)) > 1:
            message = f"Forbidden: may not specify more than 1 volume type: {', '.join(types)}"
            yield _refused(f"{pod.path}.volumes[{index}]", message, "take all but one out")
    known = {volume.name for volume in pod.spec.volumes or ()} | (pod.templates.keys() - {""})
    for path, container in containers(pod):
        privileged = container.security_context is not None and container.security_context.privileged
        for index, mount in enumerate(container.volume_mounts or ()):
            if mount.mount_propagation == BIDIRECTIONAL and not privileged:
                message = f"Forbidden: {BIDIRECTIONAL} mount propagation is available only to privileged containers"
                yield _refused(f"{path}.volumeMounts[{index}].mountPropagation", message, "use HostToContainer")
            if mount.name not in known:
                field = f"{path}.volumeMounts[{index}].name"
                yield _missing(pod, field, "VolumeNotKnown", f"Not found: no volume is called {mount.name}")


def _of_values(pod: Pod) -> Iterator[Reason]:
    """Values that no API server takes. *Source*: validateOS, validateHostPathVolumeSource and others."""
    if pod.spec.os is not None and pod.spec.os.name not in ("linux", "windows"):
        yield _refused(f"{pod.path}.os.name", f"Unsupported value: {pod.spec.os.name!r}", "linux or windows")
    if pod.spec.ephemeral_containers and not pod.uid:
        message = "Forbidden: ephemeral containers are added to a Pod that runs"
        yield _refused(f"{pod.path}.ephemeralContainers", message, "take them out")
    for index, volume in enumerate(pod.spec.volumes or ()):
        field, place = f"{pod.path}.volumes[{index}]", volume.host_path
        if place is not None and not place.path:
            yield _refused(f"{field}.hostPath.path", "Required value", "the path")
        if place is not None and ".." in place.path.split("/"):
            yield _refused(f"{field}.hostPath.path", "Invalid value: must not contain '..'", "the path without ..")
        if place is not None and (place.type or "") not in HOST_PATH_TYPES:
            yield _refused(f"{field}.hostPath.type", f"Unsupported value: {place.type!r}", "a type of the API")
        if volume.ephemeral is not None and volume.ephemeral.volume_claim_template is None:
            yield _refused(f"{field}.ephemeral.volumeClaimTemplate", "Required value", "the template of the claim")
    for path, container in containers(pod):
        for index, mount in enumerate(container.volume_mounts or ()):
            for name, below in (("subPath", mount.sub_path or ""), ("subPathExpr", mount.sub_path_expr or "")):
                if below.startswith("/") or ".." in below.split("/"):
                    message = "Invalid value: must be a relative path without '..'"
                    yield _refused(f"{path}.volumeMounts[{index}].{name}", message, "a path in the volume")


def _missing(pod: Pod, field: str, word: str, message: str) -> Reason:
    if pod.complete and not pod.uid:
        return _refused(field, message, "complete the manifest")
    return reason(field, "unknown", "unknown", word, message, "give the Pods that run, as a whole")


def dropped_proc_mount(pod: Pod, node: Node) -> Iterator[str]:
    """Fields `procMount: Unmasked` that an API server before 1.33 drops, unless its gate ProcMountType is on."""
    version = minor_version(node.kubelet_version)
    if version is None or version >= (PROC_MOUNT.default_on() or version):
        return
    for path, container in containers(pod):
        if container.security_context and container.security_context.proc_mount == "Unmasked":
            yield f"{path}.securityContext.procMount"


def _volume_devices(field: str, version: tuple[int, int] | None, forbidden: str) -> Reason:
    way = f"use a file system on it (volumeMode: Filesystem), or {KEEP_HOST}"
    if version is not None and version >= _VOLUME_DEVICES_SINCE:
        return _refused(field, forbidden, way)
    message = "API servers from 1.34 on refuse it, and before that it fails on the node"
    return reason(field, "fails", "rule", "VolumeDevices", message, way)


def _refused(field: str, message: str, remediation: str) -> Reason:
    return reason(field, "refused", "rule", "RefusedByApiServer", message, remediation)
