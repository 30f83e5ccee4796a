"""The kernel's rule mount_too_revealing: may a user namespace mount a new /proc or /sys?"""

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
"""Directories created as mount points only: a mount there hides nothing. The kernel exempts no other empty directory.

*Source*: the callers of proc_create_mount_point, register_sysctl_mount_point and sysfs_create_mount_point.
"""

COVERING_LIMIT = 20
"""Maximum number of mount points in a message."""

_ATIME = frozenset(("noatime", "nodiratime", "relatime"))


def cgroup2_options(mounts: Sequence[Mount]) -> tuple[str, ...] | None:
    """Options of the file system cgroup2 on /sys/fs/cgroup: `nsdelegate`; None when another one is mounted there."""
    found = [mount for mount in mounts if mount.mount_point == "/sys/fs/cgroup"]
    return tuple(found[-1].super_options.split(",")) if found and found[-1].fstype == "cgroup2" else None


def cgroup_controllers(table: MountTable) -> tuple[str, ...]:
    """Controllers of the cgroup v1 hierarchies that are mounted, `cpu`, `devices`, and `name=systemd`."""
    mounts = [mount for mount in table if mount.fstype == "cgroup" and table.mount_of(mount.mount_point) == mount]
    options = {option for mount in mounts for option in mount.super_options.split(",")}
    return tuple(sorted(options - {"ro", "rw"}))[:COVERING_LIMIT]


def writable_sysfs(mounts: Sequence[Mount]) -> tuple[str, ...]:
    """Mount points of sysfs other than /sys, at most ten, that can be written: a hostPath volume may offer one."""
    found = (mount for mount in mounts if mount.fstype == "sysfs" and not mount.read_only)
    return tuple(printable(mount.mount_point) for mount in found if mount.mount_point != "/sys")[:10]


def visibility(table: MountTable, fstype: Literal["proc", "sysfs"]) -> Visibility:
    """Visible if at least one mount of *fstype* hides nothing that a new mount by a runtime would show.

    The new mount is writable for proc, read-only for sysfs, and relatime. One fully visible mount anywhere suffices.
    *Source*: fs/namespace.c, `mount_too_revealing`.
    """
    obstacles = [_obstacles(table, mount) for mount in table if mount.fstype == fstype and mount.root == "/"]
    if any(not found for found in obstacles):
        return Visibility(visible=True, covering=())
    covering = dict.fromkeys(obstacle for found in obstacles for obstacle in found)
    return Visibility(visible=False, covering=tuple(covering)[:COVERING_LIMIT] or (f"no whole {fstype} is mounted",))


def _obstacles(table: MountTable, mount: Mount) -> list[str]:
    """Mount points that hide a part of *mount*, and its options that a new mount could lack."""
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
