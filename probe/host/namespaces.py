"""Entering the node's mount namespace once, so that every path afterwards is what it is on bare metal."""

from __future__ import annotations

import os

from probe.host import syscalls
from probe.reading import Reading

INITIAL_USER_NAMESPACE = "user:[4026531837]"
"""The link of the first user namespace on every Linux since 3.8. *Source*: linux/nsfs.h, `USER_NS_INIT_INO`."""


def open_own_proc() -> int:
    """A descriptor of our own /proc, to be held from before entering.

    Without hostPID, the pid that fork(2) returns is not the pid in the /proc that is visible afterwards.
    """
    return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def enter_node(proc: str) -> Reading[bool]:
    """Enter the mount namespace of process 1 of *proc*, the node's /proc; nothing happens when we are there already.

    Import all that is needed before: our own files are out of sight afterwards. Only for a process with one thread.
    *Errors*, as a problem: EPERM without CAP_SYS_ADMIN, CAP_SYS_CHROOT or CAP_SYS_PTRACE; EINVAL with threads.
    *Source*: setns(2).
    """
    return enter_mount_namespace(f"{proc}/1/ns/mnt")


def enter_mount_namespace(link: str) -> Reading[bool]:
    """Enter the mount namespace that *link* (`/proc/PID/ns/mnt`) names, unless we are in it."""
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
    """The id of a mount, which tells mount namespaces apart without the right to trace a process.

    Each mount belongs to one namespace only. Where there is none to read, the name of the file.
    """
    try:
        with open(mountinfo, "rb") as file:
            return file.readline(64).split(b" ")[0]
    except OSError:
        return mountinfo.encode()


def enter_process(process: int) -> None:
    """Enter the mount namespace and the root directory of the process whose directory in /proc *process* is.

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
