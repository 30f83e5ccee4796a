"""Whether a Pod's user namespace may mount /proc and /sys, judged as the kernel does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from probe.facts.model import Visibility
from probe.host.mount_table import MountTable
from probe.host.mountinfo import Mount, printable

ALWAYS_EMPTY = {
    "proc": frozenset(("sys/fs/binfmt_misc", "fs/nfsd", "openprom", "xen")),
    "sysfs": frozenset(
        (
            "firmware/efi/efivars",
            "fs/bpf",
            "fs/cgroup",
            "fs/fuse/connections",
            "fs/pstore",
            "fs/resctrl",
            "fs/selinux",
            "fs/smackfs",
            "hypervisor/s390",
            "kernel/config",
            "kernel/debug",
            "kernel/security",
            "kernel/tracing",
        )
    ),
}
"""Directories made for nothing but a mount: covering one hides nothing. To the kernel no other empty one is such.

*Source*: the callers of proc_create_mount_point, register_sysctl_mount_point and sysfs_create_mount_point.
"""

COVERING_LIMIT = 20
"""How many mount points are named."""

_ATIME = frozenset(("noatime", "nodiratime", "relatime"))


def visibility(mounts: Sequence[Mount], fstype: Literal["proc", "sysfs"]) -> Visibility:
    """Whether one mount of *fstype* hides nothing that a fresh one, as runtimes make it, would show.

    The fresh one is writable for proc, read-only for sysfs, and relatime. A second mount anywhere heals the first.
    *Source*: fs/namespace.c, `mount_too_revealing`.
    """
    table = MountTable(mounts)
    obstacles = [_obstacles(table, mount) for mount in mounts if mount.fstype == fstype and mount.root == "/"]
    if any(not found for found in obstacles):
        return Visibility(visible=True, covering=())
    covering = dict.fromkeys(obstacle for found in obstacles for obstacle in found)
    return Visibility(visible=False, covering=tuple(covering)[:COVERING_LIMIT] or (f"no whole {fstype} is mounted",))


def _obstacles(table: MountTable, mount: Mount) -> list[str]:
    """Mount points that hide a part of *mount*, and its options that a fresh mount could shake off."""
    prefix = mount.mount_point.rstrip("/") + "/"
    found = [
        printable(child.mount_point)
        for child in table.children(mount)
        if child.mount_point.removeprefix(prefix) not in ALWAYS_EMPTY[mount.fstype]
    ]
    where = printable(mount.mount_point)
    if mount.fstype == "proc" and mount.read_only:
        found.append(f"option ro of {where}")
    if _ATIME.intersection(mount.options) != {"relatime"}:
        found.append(f"option {_atime(mount)} of {where}")
    return found


def _atime(mount: Mount) -> str:
    return ",".join(option for option in mount.options if option in _ATIME) or "strictatime"
