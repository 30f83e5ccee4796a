"""Sources of a probe: the kinds of looks at files, and files that only attempts depend on."""

from __future__ import annotations

import re

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
"""Files that no fact is read from, but that decide the outcome of attempts."""
KERNEL_FILE = re.compile(r"/(?:proc|sys)/(?!\d+/(?:root|cwd|exe|fd|task|map_files)(?:/|$))")
PROCESS = re.compile(r"/proc/(\d+)/(\S+)")
RESTLESS = re.compile(
    r"/proc/(?:self|key-users|keys|loadavg|meminfo|modules|mounts|stat|uptime|vmstat)(?:/|$)|/sys/.*/(?:pids\.current|cgroup\.stat)$|/proc/sys/fs/file-nr$|/proc/1/net/tcp6?$"
)


def kind_of(path: str) -> str:
    """The kind of the look at a file that is read."""
    if not KERNEL_FILE.match(path):
        return "file"
    kinds = {"mountinfo": "mounts", "stat": "start", "status": "status"}
    return kinds.get(path.rpartition("/")[2], "content") if PROCESS.fullmatch(path) else "content"
