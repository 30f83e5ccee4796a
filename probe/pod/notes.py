"""The meaning of a Pod's fields with a user namespace, where they do not decide whether it runs."""

from __future__ import annotations

from collections.abc import Iterator

from probe.pod.api import BIDIRECTIONAL, dropped_proc_mount, minor_version
from probe.pod.model import Node, Note, Pod
from probe.pod.sources import source_of
from probe.pod.walk import containers
from probe.tables.gone_plugins import GONE
from probe.tables.pod_security import SINCE
from probe.tables.version import spelled

VOID = frozenset((
    "AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "BPF", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD",
    "PERFMON", "SYSLOG", "SYS_MODULE", "SYS_PACCT", "SYS_RAWIO", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
))  # fmt: skip
"""Capabilities that the kernel only asks of the first user namespace. *Source*: capabilities(7), user_namespaces(7)."""


def notes_of(pod: Pod, node: Node) -> Iterator[Note]:
    """Notes on capabilities, privileged, procMount and Pod Security."""
    for path, container in containers(pod):
        for index, mount in enumerate(container.volume_mounts or ()):
            if mount.mount_propagation == BIDIRECTIONAL:
                message = "unknown whether the container's mounts there reach the node: not tried"
                yield Note(field=f"{path}.volumeMounts[{index}].mountPropagation", message=message)
        context = container.security_context
        if context is None:
            continue
        if context.privileged:
            message = (
                "privileged grants all capabilities in the Pod's own user namespace, none over the node; it fails if "
                "the node is itself a container without a writable sysfs"
            )
            yield Note(field=f"{path}.securityContext.privileged", message=message)
        added = {
            name.upper().removeprefix("CAP_") for name in (context.capabilities and context.capabilities.add) or ()
        }
        if void := sorted(added & VOID):
            message = f"{', '.join(void)} have no effect: the kernel requires them in its initial user namespace"
            yield Note(field=f"{path}.securityContext.capabilities.add", message=message)
    yield from _gone(pod, node)
    for field in dropped_proc_mount(pod, node):
        yield Note(field=field, message="API servers before 1.33 drop it, unless their gate ProcMountType is on")
    yield from _pod_security(pod)


def _gone(pod: Pod, node: Node) -> Iterator[Note]:
    """Volumes that this kubelet may not mount, whatever users the Pod has: its version or a gate is not known."""
    version = minor_version(node.kubelet_version)
    for index, volume in enumerate(pod.spec.volumes or ()):
        field = source_of(volume)[0]
        since = GONE.get(field)
        gate = ", unless the gate GitRepoVolumeDriver is on" if field == "gitRepo" else ""
        if since and (version is None or (gate and version >= since)):
            message = f"kubelets since {spelled(since)} have no plugin for it: the Pod waits in ContainerCreating{gate}"
            yield Note(field=f"{pod.path}.volumes[{index}].{field}", message=message)


def _pod_security(pod: Pod) -> Iterator[Note]:
    """Only what hostUsers: false changes: two checks of restricted, one of baseline."""
    whole = pod.spec.security_context
    users = [one.security_context.run_as_user for _, one in containers(pod) if one.security_context]
    as_root = (whole is not None and whole.run_as_user == 0) or 0 in users
    non_root = [one.security_context.run_as_non_root if one.security_context else None for _, one in containers(pod)]
    whole_non_root = whole is not None and whole.run_as_non_root
    if as_root or not (whole_non_root or all(non_root)):
        message = (
            f"Pod Security restricted, version {spelled(SINCE)} or later, does not ask for runAsNonRoot with "
            "hostUsers: false; a namespace that pins an earlier version does"
        )
        yield Note(field=f"{pod.path}.securityContext", message=message)
    for path, one in containers(pod):
        if one.security_context and one.security_context.proc_mount == "Unmasked":
            message = f"Pod Security baseline, version {spelled(SINCE)} or later, allows it with hostUsers: false"
            yield Note(field=f"{path}.securityContext.procMount", message=message)
