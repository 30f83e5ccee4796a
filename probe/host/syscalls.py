"""System calls that Python does not offer, under their kernel names.

Each wrapper calls, tests and raises OSError with errno and path. All go through syscall(2), because musl
has no wrappers for the mount API and glibc only since 2.36.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NoReturn

AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100
AT_NO_AUTOMOUNT = 0x800
AT_STATX_DONT_SYNC = 0x4000
AT_RECURSIVE = 0x8000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWUTS = 0x04000000
FSCONFIG_CMD_CREATE = 6
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSMOUNT_CLOEXEC = 1
FSOPEN_CLOEXEC = 1
KEYCTL_JOIN_SESSION_KEYRING = 1
MNT_DETACH = 0x2
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NOSUID = 0x00000002
MOVE_MOUNT_F_EMPTY_PATH = 0x00000004
MS_BIND = 0x1000
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_NOSUID = 0x2
MS_RDONLY = 0x1
MS_REC = 0x4000
MS_REMOUNT = 0x20
MS_SLAVE = 0x80000
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
OPEN_TREE_CLONE = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_NO_NEW_PRIVS = 38
PR_SET_PDEATHSIG = 1
RESOLVE_IN_ROOT = 0x10
RESOLVE_NO_SYMLINKS = 0x04
STATX_ATTR_APPEND = 0x20
STATX_ATTR_IMMUTABLE = 0x10

_UNDER_LINUX32 = {"i686": "x86_64", "armv8l": "aarch64"}
"""What uname(2) says to a 64-bit process of personality PER_LINUX32, whose system calls stay those of 64 bits."""


def native(machine: str, pointer: int) -> str:
    """The architecture of the system calls of a process with pointers of so many bytes, told *machine* by uname(2)."""
    return _UNDER_LINUX32.get(machine, machine) if pointer == 8 else machine


_ARCHITECTURE = native(os.uname().machine, struct.calcsize("P"))
# Numbers from 424 on are the same on all architectures except alpha; only these two were tested.
SUPPORTED_ARCHITECTURE = _ARCHITECTURE in ("x86_64", "aarch64") and struct.calcsize("P") == 8
_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_FSOPEN = 430
_NR_FSCONFIG = 431
_NR_FSMOUNT = 432
_NR_OPENAT2 = 437
_NR_MOUNT_SETATTR = 442
_NR_CAPSET = {"x86_64": 126, "aarch64": 91}.get(_ARCHITECTURE, -1)
_NR_KEYCTL = {"x86_64": 250, "aarch64": 219}.get(_ARCHITECTURE, -1)
_NR_STATX = {"x86_64": 332, "aarch64": 291}.get(_ARCHITECTURE, -1)
_NR_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(_ARCHITECTURE, -1)

_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, *(ctypes.c_void_p,) * 6)  # numbers, also negative ones, bytes, buffers and None
_UNUSED = (None,) * 6
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.getsockopt.argtypes = (*(ctypes.c_int,) * 3, ctypes.c_char_p, ctypes.c_char_p)
_libc.access.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """Descriptor of the mount at *path*; with OPEN_TREE_CLONE, of a detached copy.

    Needs CAP_SYS_ADMIN to clone. *Errors*: EPERM; EINVAL for an unbindable mount or one of another mount
    namespace; ENOSYS before Linux 5.2 or under a seccomp filter. *Source*: open_tree(2).
    """
    return _call(_NR_OPEN_TREE, path, dir_fd, os.fsencode(path), flags)


def mount_setattr(fd: int, attr_set: int, userns_fd: int = 0, flags: int = 0) -> None:
    """Set attributes of mount *fd*; with MOUNT_ATTR_IDMAP, map its IDs by user namespace *userns_fd*.

    With AT_RECURSIVE in *flags*, of all mounts of its tree, or of none when one refuses.

    *Errors*: EINVAL when the file system cannot be idmapped (among a dozen other causes); EPERM without
    CAP_SYS_ADMIN over the file system, or when it is idmapped already; ENOSYS before Linux 5.12.
    *Source*: mount_setattr(2).
    """
    attributes = struct.pack("=QQQQ", attr_set, 0, 0, userns_fd)
    _call(_NR_MOUNT_SETATTR, None, fd, b"", AT_EMPTY_PATH | flags, attributes, 32)


def move_mount(from_fd: int, path: str) -> None:
    """Attach the detached mount *from_fd* at *path*. *Source*: move_mount(2)."""
    _call(_NR_MOVE_MOUNT, path, from_fd, b"", AT_FDCWD, os.fsencode(path), MOVE_MOUNT_F_EMPTY_PATH)


def mount_detached(fstype: str, attributes: int = 0, **options: str) -> int:
    """Descriptor of a new, detached file system of type *fstype*; it ends with its last descriptor.

    *attributes*: MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, which are also the values of MOUNT_ATTR_*. As with
    mount(2), MS_RDONLY makes the superblock read-only, too.

    *Errors*: ENODEV when the kernel does not know the type; EPERM without CAP_SYS_ADMIN; ENOSYS before
    Linux 5.2. *Source*: fsopen(2), fsconfig(2), fsmount(2).
    """
    context = _call(_NR_FSOPEN, fstype, os.fsencode(fstype), FSOPEN_CLOEXEC)
    try:
        if attributes & MS_RDONLY:
            _call(_NR_FSCONFIG, fstype, context, FSCONFIG_SET_FLAG, b"ro", None, 0)
        for key, value in options.items():
            _call(_NR_FSCONFIG, fstype, context, FSCONFIG_SET_STRING, os.fsencode(key), os.fsencode(value), 0)
        _call(_NR_FSCONFIG, fstype, context, FSCONFIG_CMD_CREATE, None, None, 0)
        return _call(_NR_FSMOUNT, fstype, context, FSMOUNT_CLOEXEC, attributes)
    finally:
        os.close(context)


def openat2(dir_fd: int, path: str, flags: int, resolve: int) -> int:
    """Open *path* below *dir_fd*, resolved as *resolve* allows.

    *Errors*: ELOOP when RESOLVE_NO_SYMLINKS meets a symlink; ENOSYS before Linux 5.6. *Source*: openat2(2).
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    return _call(_NR_OPENAT2, path, dir_fd, os.fsencode(path), how, 24)


def attributes(fd: int) -> int:
    """The attributes of the file that *fd* names, as `STATX_ATTR_*` bits, without asking a server.

    *Errors*: ENOSYS before Linux 4.11. *Source*: statx(2).
    """
    buffer = ctypes.create_string_buffer(256)
    _call(_NR_STATX, f"descriptor {fd}", fd, b"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, buffer)
    found: int = struct.unpack_from("=Q", buffer, 8)[0]
    return found


def access(path: str, mode: int) -> None:
    """Ask whether this process may access *path* so.

    *Errors*: EACCES; EROFS where nothing can be written. *Source*: access(2).
    """
    if _libc.access(os.fsencode(path), mode):
        _raise(path)


def mount(source: str, target: str, fstype: str | None, flags: int = 0, data: str = "") -> None:
    """Attach a file system, or change a mount. *Source*: mount(2)."""
    kind = None if fstype is None else os.fsencode(fstype)
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind, flags, data.encode()):
        _raise(target)


def mount_quietly(fstype: str, target: str, attributes: int, **options: str) -> None:
    """Attach a new proc or sysfs. A refusal stays out of the kernel's log, where mount(2) writes a line for each."""
    fd = mount_detached(fstype, attributes, **options)
    try:
        move_mount(fd, target)
    finally:
        os.close(fd)


def umount2(target: str, flags: int) -> None:
    """Detach a mount. *Errors*: EINVAL when it is locked, or no mount point. *Source*: umount(2)."""
    if _libc.umount2(os.fsencode(target), flags):
        _raise(target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make *new_root* the root mount, and move the old one to *put_old*; both may be `.`.

    *Errors*: EPERM without CAP_SYS_ADMIN; EINVAL when the old root is the initial ramfs. *Source*: pivot_root(2).
    """
    _call(_NR_PIVOT_ROOT, new_root, os.fsencode(new_root), os.fsencode(put_old))


def join_session_keyring() -> None:
    """Give this process a new session keyring. *Errors*: EDQUOT; EPERM under a filter. *Source*: keyctl(2)."""
    _call(_NR_KEYCTL, None, KEYCTL_JOIN_SESSION_KEYRING, None, 0, 0, 0)


def getsockopt(fd: int, level: int, option: int, value: bytes) -> bytes:
    """Answer to a socket option that also takes a value, of the same length. *Source*: getsockopt(2)."""
    buffer, length = ctypes.create_string_buffer(value, len(value)), struct.pack("=I", len(value))
    if _libc.getsockopt(fd, level, option, buffer, length):
        _raise(None)
    return buffer.raw


def unshare(flags: int) -> None:
    """Move the caller into new namespaces.

    *Errors*: EINVAL for CLONE_NEWUSER from a process with threads, or without CONFIG_USER_NS; EPERM in a chroot;
    ENOSPC when `user.max_*_namespaces` is reached. *Source*: unshare(2), user_namespaces(7).
    """
    if _libc.unshare(flags):
        _raise(None)


def setns(fd: int, flags: int) -> None:
    """Enter the namespace of descriptor *fd*.

    A mount namespace needs CAP_SYS_ADMIN and CAP_SYS_CHROOT, and refuses a process with threads (EINVAL).
    *Source*: setns(2).
    """
    if _libc.setns(fd, flags):
        _raise(None)


def prctl(option: int, argument: int) -> None:
    """Set an attribute of this process by an option with one argument. *Source*: prctl(2)."""
    if _libc.prctl(option, argument, 0, 0, 0):
        _raise(None)


def set_name(name: str) -> None:
    """Set the name of this process in proc_pid_comm(5), cut to 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def drop_capabilities() -> None:
    """Drop all capabilities and set no_new_privs, so that execve(2) gains none. *Source*: capabilities(7)."""
    # To the header the kernel writes only where it does not know the version; every one since 2.6.26 does.
    _call(_NR_CAPSET, None, struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24))
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _call(number: int, path: str | None, *arguments: object) -> int:
    result: int = _syscall(number, *arguments, *_UNUSED[len(arguments) :])
    if result < 0:
        _raise(path)
    return result


def _raise(path: str | None) -> NoReturn:
    error = ctypes.get_errno()
    raise OSError(error, os.strerror(error), path)
