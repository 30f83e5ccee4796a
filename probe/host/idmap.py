"""The central attempt: create one user namespace, then idmapped mounts of real file systems with it.

Every clone is detached: no mount table lists it, and it ends with its descriptor, also after SIGKILL. An open clone
makes umount(8) of its file system fail with EBUSY, so each is open for microseconds only.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import msgspec
from msgspec import Struct

from probe.host import syscalls
from probe.host.child import Child, ChildError
from probe.host.files import is_sealed
from probe.host.in_child import die_with_parent

FIRST_HOST_ID = 65536 * 32767
"""First host ID of the attempted map: a block of the kubelet's default pool, far above the IDs of accounts."""
MAP_LENGTH = 65536
_FIRST_WITH_DETACHED_LAYERS = (6, 15)
_WITH_SUBVOLUMES = ("btrfs", "bcachefs")
"""File systems without a server of which a part can be read-only, as a snapshot is."""


class NamespaceAnswer(Struct, frozen=True):
    """Result of creating a user namespace: the last step and its errno."""

    step: str
    """The step that failed: `fork`, `unshare`, `uid_map`, `gid_map`, `read back`; `done` when all worked.

    `threads` when the caller has threads, so nothing was tried; `helper` when the child ended without an answer.
    """
    error: int = 0
    """errno of that step, 0 when it worked."""


class Answer(Struct, frozen=True):
    """Result of an attempt at an idmapped mount: the last step and its errno."""

    step: str
    """The call that failed: `open_tree`, `control`, `mount_setattr`, …; `done` when all worked.

    Before any call: `fork`; `setns` when the mount namespace could not be entered; `helper` when the child ended
    without an answer or timed out.
    """
    error: int = 0
    owner: tuple[int, int] | None = None
    """Owner of the root without and with the mapping, when requested by `ask_owner`."""
    waiting: bool = False
    """True when the FUSE server left requests unanswered, so its FUSE_INIT flags are unknown."""
    sealed: bool = False
    """Whether it is in a read-only subvolume, which the mount table does not tell."""


class Target(Struct, frozen=True):
    """One path to try."""

    path: str
    device: str
    fstype: str
    ask_owner: bool = False
    """Compare owners with fstat(2). Only for file systems without a server, because fstat(2) waits for it."""
    unbindable: bool = False
    """True to try in a new mount namespace, as runc does: there unbindable mounts can be bound."""
    server: str = ""
    """Device of the parent mount whose server must answer the path lookup; empty when there is none."""
    recursive: bool = False
    """True to map all mounts below, too, as runtimes do for the option `ridmap`."""
    kind: Literal["mount", "tmpfs", "overlay"] = "mount"
    """`mount` to map the mount at *path*, `tmpfs` a new tmpfs, `overlay` to map *path* as the layer of an overlay."""


def attempt_user_namespace(own_proc: int) -> tuple[int, NamespaceAnswer]:
    """Create a user namespace with a map of 65536 IDs; returns its descriptor (-1 on failure) and the result.

    *own_proc* is a descriptor of the /proc of our own PID namespace: after entering the node's mount namespace
    the visible /proc counts pids differently. *Source*: user_namespaces(7).
    """
    try:
        if len(os.listdir(f"/proc/self/fd/{own_proc}/self/task")) > 1:
            return -1, NamespaceAnswer("threads", errno.EINVAL)
        return _make_user_namespace(own_proc)
    except OSError as error:  # no process or descriptor left
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return -1, NamespaceAnswer("proc" if gone else "fork", error.errno or errno.EIO)


def _make_user_namespace(own_proc: int) -> tuple[int, NamespaceAnswer]:
    hold_read, hold_write = os.pipe()
    parent = os.getpid()

    def member(write: Callable[[bytes], None]) -> None:
        os.close(hold_write)
        try:
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            die_with_parent(parent)  # new credentials clear the parent-death signal
        except OSError as error:
            write(b"%d\n" % (error.errno or errno.EIO))
            return
        write(b"0\n")
        os.read(hold_read, 1)

    try:
        child = Child(member)
    except OSError:
        os.close(hold_write)
        raise
    finally:
        os.close(hold_read)
    try:
        answer = next(child.lines(timeout=5.0), b"")
        if not answer:
            return -1, NamespaceAnswer("helper", errno.EIO)
        if error := int(answer):
            return -1, NamespaceAnswer("unshare", error)
        return _map_and_open(own_proc, child.pid)
    except (TimeoutError, ChildError):
        return -1, NamespaceAnswer("unshare", errno.ETIMEDOUT)
    finally:
        os.close(hold_write)
        child.close()


def _map_and_open(own_proc: int, pid: int) -> tuple[int, NamespaceAnswer]:
    line = f"0 {FIRST_HOST_ID} {MAP_LENGTH}"
    for name in ("uid_map", "gid_map"):
        try:
            map_fd = os.open(f"{pid}/{name}", os.O_RDWR | os.O_CLOEXEC, dir_fd=own_proc)
            try:
                os.write(map_fd, line.encode())  # one write: the kernel refuses a second
                os.lseek(map_fd, 0, os.SEEK_SET)
                seen = os.read(map_fd, 4096).split()
            finally:
                os.close(map_fd)
        except OSError as error:
            return -1, NamespaceAnswer(name, error.errno or errno.EIO)
        if seen != line.encode().split():
            return -1, NamespaceAnswer("read back", errno.EINVAL)
    try:
        return os.open(f"{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=own_proc), NamespaceAnswer("done")
    except OSError as error:
        return -1, NamespaceAnswer("open", error.errno or errno.EIO)


def attempt_idmap(target: Target, userns_fd: int) -> Answer:
    """Try an idmapped mount of *target*, as OCI runtimes do: of the top mount only, unless it is recursive.

    A control call first changes the same clone without MOUNT_ATTR_IDMAP, so a later EINVAL can only concern the
    mapping. *Source*: mount_setattr(2), NOTES.
    """
    recursive = syscalls.AT_RECURSIVE if target.recursive else 0
    try:
        clone = _clone(target.path, recursive)
    except OSError as error:
        return Answer("open_tree", error.errno or errno.EIO)
    sealed = target.fstype in _WITH_SUBVOLUMES and is_sealed(f"/proc/self/fd/{clone}")
    answer = _map_clone(clone, userns_fd, target.ask_owner, recursive)
    return msgspec.structs.replace(answer, sealed=True) if sealed else answer


def attempt_tmpfs(userns_fd: int) -> Answer:
    """Try an idmapped mount of a new tmpfs, the file system of tokens and Secrets."""
    try:
        clone = syscalls.mount_detached("tmpfs", mode="0755")
    except OSError as error:
        return Answer("fsmount", error.errno or errno.EIO)
    return _map_clone(clone, userns_fd, ask_owner=True)


def attempt_overlay(layers: str, userns_fd: int) -> Answer:
    """Mount an overlay whose lower layer is an idmapped clone of *layers*; the other layer is a new tmpfs.

    Call it in a child: it may change the mount namespace. *layers* is not written.
    *Errors*: of the call named by the step; EINVAL from `overlay` before Linux 5.19.
    """
    if _allows_detached_layers():
        with suppress(OSError):  # what it refuses is tried as containerd does it
            return _attempt_detached_overlay(layers, userns_fd)
    return _attempt_attached_overlay(layers, userns_fd)


def _allows_detached_layers() -> bool:
    """True since Linux 6.15; an older kernel refuses them, and writes a line into its log."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return version is not None and (int(version[1]), int(version[2])) >= _FIRST_WITH_DETACHED_LAYERS


def _attempt_detached_overlay(layers: str, userns_fd: int) -> Answer:
    """The attempt with mounts that no namespace has: the copy of a namespace takes 2 us for each of its mounts."""
    opened = [_clone(layers)]
    try:
        owner = os.fstat(opened[0]).st_uid
        syscalls.mount_setattr(opened[0], syscalls.MOUNT_ATTR_IDMAP, userns_fd)
        opened.append(syscalls.mount_detached("tmpfs"))
        lower = ":".join(f"/proc/self/fd/{layer}" for layer in opened)
        opened.append(syscalls.mount_detached("overlay", syscalls.MS_RDONLY, lowerdir=lower))
        return Answer("done", 0, (owner, os.fstat(opened[2]).st_uid))
    finally:
        for fd in opened:
            os.close(fd)


def _attempt_attached_overlay(layers: str, userns_fd: int) -> Answer:
    """The attempt in a new mount namespace."""
    step = "unshare"
    clone = -1
    try:
        enter_own_mount_namespace()
        step = "open_tree"
        clone = _clone(layers)
        owner = os.fstat(clone).st_uid
        step = "mount_setattr"
        syscalls.mount_setattr(clone, syscalls.MOUNT_ATTR_IDMAP, userns_fd)
        step = "tmpfs"
        syscalls.mount("tmpfs", "/proc", "tmpfs")  # it always exists; only this namespace sees the mount
        for name in ("lower", "other", "merged"):
            os.mkdir(f"/proc/{name}")
        step = "move_mount"
        syscalls.move_mount(clone, "/proc/lower")
        step = "overlay"
        syscalls.mount("overlay", "/proc/merged", "overlay", syscalls.MS_RDONLY, "lowerdir=/proc/lower:/proc/other")
        return Answer("done", 0, (owner, os.stat("/proc/merged").st_uid))
    except OSError as error:
        return Answer(step, error.errno or errno.EIO)
    finally:
        if clone >= 0:
            os.close(clone)


def _clone(path: str, recursive: int = 0) -> int:
    """Descriptor of a detached copy of the mount at *path*; *recursive* is AT_RECURSIVE for all mounts below."""
    flags = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC | syscalls.AT_NO_AUTOMOUNT
    return syscalls.open_tree(syscalls.AT_FDCWD, path, flags | recursive)


def enter_own_mount_namespace() -> None:
    """Move the caller into a copy of its mount namespace.

    Propagation is slave: unmounts on the node reach the copy, and our mounts never reach the node.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)


def _map_clone(clone: int, userns_fd: int, ask_owner: bool, flags: int = 0) -> Answer:
    """Set the mapping on a detached mount, then close it. *flags*: AT_RECURSIVE for all mounts of a tree."""
    step = "control"
    before = after = -1
    try:
        syscalls.mount_setattr(clone, syscalls.MOUNT_ATTR_NOSUID, flags=flags)
        if ask_owner:
            step = "fstat"
            before = os.fstat(clone).st_uid
        step = "mount_setattr"
        syscalls.mount_setattr(clone, syscalls.MOUNT_ATTR_IDMAP, userns_fd, flags=flags)
        if ask_owner:
            step = "fstat"
            after = os.fstat(clone).st_uid
    except OSError as error:
        return Answer(step, error.errno or errno.EIO)
    finally:
        os.close(clone)
    return Answer("done", 0, (before, after) if ask_owner else None)
