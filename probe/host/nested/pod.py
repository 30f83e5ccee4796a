"""The root directory of a Pod's container, as an OCI runtime makes it, with nothing of the node in it.

A trial that kept the node's root would see the node's own /proc, of which nothing is masked, and would be allowed
mounts that a Pod is refused: the kernel gives a fresh /proc to a user namespace only where a whole one is visible.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from msgspec import Struct

from probe.host import syscalls
from probe.host.sandbox.root import read_lines
from probe.host.sandbox.steps import BASE, UnknownToKernelError

VOLUME = "/volume"
"""Mount point of a tmpfs with an ID mapping, as an emptyDir has it."""

_PRIVATE = syscalls.MS_NOSUID | syscalls.MS_NOEXEC | syscalls.MS_NODEV
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list")
# *Source*: containerd and CRI-O, the default paths of `procMount: Default`; these are enough to cover /proc


MISC_MINORS = {"/dev/fuse": 229, "/dev/net/tun": 200}
"""Device node -> its minor number of the major number 10. *Source*: Linux, admin-guide/devices.txt."""


class Devices(Struct):
    """Descriptors of device nodes, opened as the Pod's root; -1 for one that was not."""

    fuse: int = -1
    tun: int = -1


def open_device(path: str, minors: frozenset[int]) -> int:
    """Descriptor of a device node of the node, which needs o+rw for the root of a Pod.

    *minors* are those that drivers have registered. open(2) of another one makes the kernel load the module
    `char-major-10-MINOR`, as systemd-tmpfiles(8) makes the device nodes of drivers that are not loaded.
    """
    if MISC_MINORS[path] not in minors:
        raise UnknownToKernelError(path)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def read_minors(own_proc: int) -> frozenset[int]:
    """Minor numbers of the major number 10 that drivers have registered, from /proc/misc; empty without that file."""
    try:
        return read_lines(own_proc, "misc", parse_minors)
    except FileNotFoundError:
        return frozenset()


def parse_minors(lines: Iterable[bytes]) -> frozenset[int]:
    """The first word of each line, `229 fuse`, where that is a number."""
    words = (line.split(maxsplit=1) for line in lines)
    return frozenset(int(word[0]) for word in words if word and word[0].isdigit() and len(word[0]) < 10)


def enter_root(volume: int, filesystems: dict[str, bool]) -> None:
    """Make the container's root on a tmpfs and leave the node's, as pivot_root(2) of `.` over `.` does.

    *volume* is a detached mount for VOLUME; -1 mounts a tmpfs of the Pod's own there.
    """
    if not {"tmpfs", "proc", "sysfs"} <= set(filesystems):
        raise UnknownToKernelError("tmpfs, proc, sysfs")
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    syscalls.mount("tmpfs", BASE, "tmpfs", syscalls.MS_NOSUID, "mode=755,size=1m")
    for name in ("proc", "sys", "volume"):
        os.mkdir(f"{BASE}/{name}")
    if volume >= 0:
        syscalls.move_mount(volume, BASE + VOLUME)
    else:
        syscalls.mount("tmpfs", BASE + VOLUME, "tmpfs", syscalls.MS_NOSUID, "mode=755,size=1m")
    # Before the node's own are gone: the kernel allows these because they are visible.
    _mount_node_like(BASE)
    pivot(BASE)


def _mount_node_like(root: str) -> None:
    syscalls.mount_quietly("proc", f"{root}/proc", _PRIVATE)
    syscalls.mount_quietly("sysfs", f"{root}/sys", _PRIVATE | syscalls.MS_RDONLY)


def pivot(root: str) -> None:
    """Make the mount *root* the root directory, and detach the old one."""
    os.chdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", syscalls.MNT_DETACH)
    os.chdir("/")


def mask() -> None:
    """Cover parts of /proc, as `procMount: Default` does.

    *Source*: OCI runtime specification, `linux.maskedPaths` and `linux.readonlyPaths`.
    """
    with open("/empty", "x"):
        pass
    for path in _MASKED:
        if os.path.exists(path):
            syscalls.mount("/empty", path, None, syscalls.MS_BIND)
    for path in _READ_ONLY:
        if os.path.exists(path):
            syscalls.mount(path, path, None, syscalls.MS_BIND | syscalls.MS_REC)
            flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY | _PRIVATE
            syscalls.mount(path, path, None, flags)
