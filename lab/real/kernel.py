"""The system calls that test set-up needs and Python 3.11 has no function for.

These are the tests' own and not `probe.host`'s: what is tested must not also lay the table for its test.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def version_of(release: str) -> tuple[int, int]:
    """Major and minor version of a kernel release: (7, 3) of `7.3.1-1-amd64` and of `7.3-amd64`.

    *Errors*: ValueError for any other form.
    """
    found = re.match(r"(\d+)\.(\d+)", release)
    if not found:
        raise ValueError(f"not a kernel release: {release!r}")
    return int(found[1]), int(found[2])


RELEASE = version_of(os.uname().release)

# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
# sys/mount.h
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2
# linux/mount.h
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_ATTR_IDMAP = 0x00100000
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
# System calls from 424 on have one number on every architecture that containers run on.
SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_MOUNT_SETATTR = 442
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(number: int, *arguments: int | bytes) -> int:
    # Every argument as a whole register: ctypes would cut an int down to 32 bits.
    whole = [ctypes.c_char_p(each) if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *whole), f"system call {number}")


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def enter(path: str, kind: int) -> None:
    """Move this thread into the namespace that *path* stands for."""
    with open(path) as namespace:
        _checked(_libc.setns(ctypes.c_int(namespace.fileno()), ctypes.c_int(kind)), f"setns {path}")


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
    """mount(2), without the helpers and the mtab of mount(8)."""
    arguments = (source.encode(), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags), data.encode())
    _checked(_libc.mount(*arguments), f"mount {fstype} on {target}")


def detach(target: str) -> None:
    """Take *target* out of the mount table at once, whoever still uses it."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def mounts_below(path: str) -> dict[str, str]:
    """Mount points from *path* on down, each with its device as `major:minor`; of a stack the topmost."""
    with open("/proc/self/mountinfo") as lines:
        table = {fields[4]: fields[2] for fields in map(str.split, lines)}
    return {target: device for target, device in table.items() if f"{target}/".startswith(f"{path}/")}


def own_mount_namespace() -> None:
    """From here on, what this process mounts is seen by itself and its children alone, and ends with them."""
    unshare(CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    # A second whole /proc anywhere, as a chroot on the machine has one, would heal each that a test covers.
    with open("/proc/self/mountinfo") as lines:
        seconds = [line.split()[4] for line in lines if " - proc " in line and line.split()[4] != "/proc"]
    for target in reversed(seconds):
        detach(target)


def die_with_parent() -> None:
    """In a forked child: be killed when the parent ends, however it ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def user_namespace(first: int, count: int = 65536) -> Iterator[int]:
    """A descriptor of a new user namespace in which the ids from 0 are *first* and the following outside."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            die_with_parent()
            unshare(CLONE_NEWUSER)
            os.write(write_end, b"made")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write_end)
    descriptor = -1
    try:
        with open(read_end, "rb") as made:
            if not made.read(4):
                raise OSError("no user namespace could be made")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{name}", "wb", buffering=0) as file:
                file.write(f"0 {first} {count}".encode())
        descriptor = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def clone(path: str) -> int:
    """A descriptor of a detached mount of what is at *path*, whose file system lives until it is closed."""
    return _syscall(SYS_OPEN_TREE, AT_FDCWD, path.encode(), OPEN_TREE_CLONE | os.O_CLOEXEC)


def mount_idmapped(source: str, target: str, first: int) -> None:
    """Mount the tree at *source* on *target* too, with its ids from 0 shown as those from *first*."""
    tree = clone(source)
    try:
        with user_namespace(first) as namespace:
            mount_attr = struct.pack("=QQQQ", MOUNT_ATTR_IDMAP, 0, 0, namespace)
            _syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, mount_attr, len(mount_attr))
        _syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)
