"""Files that no fact is read from, but that decide the outcome of attempts."""

from __future__ import annotations

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
UNREAD = (
    "/proc/1/ns/mnt",
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/mount-max",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_unconfined",
    "/proc/sys/kernel/keys/maxbytes",
    "/proc/sys/kernel/keys/maxkeys",
    "/proc/sys/kernel/keys/root_maxbytes",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/modules_disabled",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/unprivileged_userns_clone",
    *(f"/proc/sys/user/max_{kind}_namespaces" for kind in _NAMESPACES),
    "/sys/fs/selinux/enforce",
)
