"""Mounts for the Pod of a trial, and their inspection from outside by the process of its container."""

from __future__ import annotations

import os

import msgspec
from msgspec import Struct

from probe.host.mountinfo import Mount, parse_mountinfo
from probe.host.oci_trial.steps import Bind, read_map, read_mount_options
from probe.host.pod_trial.messages import DESTINATIONS
from probe.host.pod_trial.plan import Role

_TABLE_LIMIT = 64 << 20
# Files that each kubelet keeps in its root directory, without any secret. CRI mounts recursively: the directory of the
# Pods would bring all their volumes along.
_KUBELET_FILES = ("cpu_manager_state", "memory_manager_state")
_TMPFS_PLACES = ("/dev/shm", "/run/lock", "/run")  # noqa: S108


class _Info(Struct):
    pid: int


def choose_sources(pods_directory: str) -> dict[Role, str]:
    """Role -> path on its file system without mounts below.

    A role for which there is none is left out. *Errors*: OSError when the mount table or the directory cannot be read.
    """
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = parse_mountinfo(file.read(_TABLE_LIMIT))
    root, device = os.path.dirname(pods_directory), os.stat(pods_directory).st_dev
    files = [f"{root}/{name}" for name in _KUBELET_FILES]
    sources: dict[Role, str] = {}
    for path in (*(path for path in files if os.path.isfile(path)), pods_directory):
        if os.stat(path).st_dev == device and not _mounts_below(mounts, path):
            sources["kubelet-root"] = path
            break
    tmpfs = {mount.mount_point for mount in mounts if mount.fstype == "tmpfs"}
    for path in _TMPFS_PLACES:
        if path in tmpfs and not _mounts_below(mounts, path):
            sources["tmpfs"] = path
            break
    return sources


def _mounts_below(mounts: tuple[Mount, ...], path: str) -> bool:
    return any(mount.mount_point.startswith(f"{path}/") for mount in mounts)


def read_pid(info: str) -> int:
    """The container's process as verbose ContainerStatus names it (containerd, CRI-O). *Errors*: ValueError."""
    try:
        pid = msgspec.json.decode(info, type=_Info).pid
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"the runtime names no process: {str(error)[:100]}") from None
    if pid < 2:
        raise ValueError(f"the runtime names {pid} as the container's process")
    return pid


def read_maps(pid: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """uid_map and gid_map of the container's process. *Errors*: OSError, ValueError."""
    return read_map(pid, "uid_map"), read_map(pid, "gid_map")


def read_binds(pid: int, sources: dict[Role, str]) -> tuple[Bind, ...]:
    """The mounts of *sources* in the container's mount namespace, with their owners. *Errors*: OSError."""
    options = read_mount_options(pid)
    return tuple(
        Bind(
            role,
            DESTINATIONS[role] in options,
            "idmapped" in options.get(DESTINATIONS[role], ()),
            os.stat(source).st_uid,
            os.stat(f"/proc/{pid}/root{DESTINATIONS[role]}").st_uid,
        )
        for role, source in sources.items()
    )
