"""Enter the mount namespace of the node once, so that all later paths are those of the node."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import Any

from probe.host import syscalls
from probe.lean_import import late_patterns
from probe.reading import Reading

INITIAL_USER_NAMESPACE = "user:[4026531837]"
"""Link text of the initial user namespace, since Linux 3.8. *Source*: linux/nsfs.h, `USER_NS_INIT_INO`."""


def open_own_proc() -> int:
    """Descriptor of our own /proc, opened before entering the node; of a new one where ours shows processes alone.

    Without hostPID, a pid from fork(2) differs from the pid in the /proc of the node. The new one is detached, so
    nobody else sees it. *Source*: proc(5), option `subset`.
    """
    if not os.path.exists("/proc/filesystems"):
        with suppress(OSError):
            return syscalls.mount_detached("proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def enter_node(proc: str) -> Reading[bool]:
    """Enter the mount namespace of process 1 of *proc*, the node's /proc, unless the caller is in it already.

    Import all modules first, or by `import_own`: our own files are not visible afterwards. Only for a process with one
    thread.
    *Errors*, as a problem: EPERM without CAP_SYS_ADMIN, CAP_SYS_CHROOT or CAP_SYS_PTRACE; EINVAL with threads.
    *Source*: setns(2).
    """
    link = f"{proc}/1/ns/mnt"
    with suppress(OSError):
        _places[:] = (
            os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC),
            os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
            os.open(link, os.O_RDONLY | os.O_CLOEXEC),
        )
    return enter_mount_namespace(link)


_places: list[int] = []
"""Our own mount namespace, our own root directory, and the node's mount namespace; empty before `enter_node`."""


def import_own(module: str) -> Any:
    """A module that few nodes need, of our own files, for which the process leaves the node's mount namespace."""
    if module in sys.modules or not _places:
        return _import(module)
    own, root, node = _places
    try:
        syscalls.setns(own, syscalls.CLONE_NEWNS)
    except OSError:  # not permitted, so the node was not entered either
        return _import(module)
    try:
        os.fchdir(root)
        os.chroot(".")
        return _import(module)
    finally:
        syscalls.setns(node, syscalls.CLONE_NEWNS)
        os.chdir("/")


@late_patterns()
def _import(module: str) -> Any:
    return importlib.import_module(module)


def enter_mount_namespace(link: str) -> Reading[bool]:
    """Enter the mount namespace of *link* (`/proc/PID/ns/mnt`), unless the caller is in it already."""
    try:
        fd = os.open(link, os.O_RDONLY | os.O_CLOEXEC)
        try:
            theirs, ours = os.fstat(fd), os.stat("/proc/self/ns/mnt")
            if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
                syscalls.setns(fd, syscalls.CLONE_NEWNS)
                os.chdir("/")
        finally:
            os.close(fd)
    except OSError as error:
        table = link.replace("ns/mnt", "mountinfo")
        if _first_mount(table) == _first_mount("/proc/self/mountinfo"):
            return Reading(table, True)
        return Reading.from_error(link, error)
    return Reading(link, True)


def _first_mount(mountinfo: str) -> bytes:
    """ID of the first mount, which identifies a mount namespace without the right to trace its process.

    Each mount belongs to one namespace only. Returns the file name when the file cannot be read or is empty.
    """
    try:
        with open(mountinfo, "rb") as file:
            return file.readline(64).split(b" ")[0]
    except OSError:
        return mountinfo.encode()


def enter_process(process: int) -> None:
    """Enter the mount namespace and the root of a process; *process* is a descriptor of its directory in /proc.

    *Errors*: as `enter_node`, raised. *Source*: setns(2), chroot(2).
    """
    root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
    namespace = os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    if not os.path.samestat(os.fstat(namespace), os.stat("/proc/self/ns/mnt")):
        syscalls.setns(namespace, syscalls.CLONE_NEWNS)
    if not os.path.samestat(os.fstat(root), os.stat("/")):
        os.fchdir(root)
        os.chroot(".")
    os.chdir("/")


def read_hostname(link: str) -> bytes:
    """Host name in the UTS namespace of *link* (`/proc/PID/ns/uts`); the caller stays there.

    *Errors*: EPERM without CAP_SYS_ADMIN; EACCES without CAP_SYS_PTRACE. *Source*: setns(2), uts_namespaces(7).
    """
    namespace = os.open(link, os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(namespace, syscalls.CLONE_NEWUTS)
    return os.fsencode(os.uname().nodename)


def is_entered(pid: int) -> bool:
    """True when process *pid* has our mount namespace and our root directory."""
    try:
        return all(
            os.path.samestat(os.stat(f"/proc/{pid}/{link}"), os.stat(f"/proc/self/{link}"))
            for link in ("ns/mnt", "root")
        )
    except OSError:
        return False
