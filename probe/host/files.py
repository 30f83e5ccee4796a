"""Open and read untrusted files. Any of these calls may block, so they run in a child process."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from probe.host import syscalls

_THROUGH_A_ROOT = re.compile(r"(/proc/\d+/root)/+(.*)", re.DOTALL)
_PIECE = 1 << 16
_MAX_LINKS = 40
"""Symlinks that the kernel follows in one path lookup. *Source*: path_resolution(7)."""


class FileStatus(Struct, frozen=True):
    """Fields of stat(2) that the probe uses."""

    mode: int
    uid: int
    size: int
    modified: float
    """Seconds since the epoch."""
    changed: float = 0.0
    """ctime in seconds since the epoch; package managers set mtime to the build time but cannot set ctime."""

    @property
    def newest(self) -> float:
        """Latest time at which the file may have been installed, in seconds since the epoch."""
        return max(self.modified, self.changed)


def read_path(path: str, limit: int) -> bytes:
    """Content of a regular file; ValueError when it is another type of file or larger than *limit* bytes."""
    return read_file(open_path(path), limit)


def open_path(path: str) -> int:
    """An O_PATH descriptor; below `/proc/<pid>/root` symlinks resolve in the root of that process, not in ours."""
    through = _THROUGH_A_ROOT.fullmatch(path)
    if not through:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    root = os.open(through[1], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return syscalls.openat2(root, through[2] or ".", os.O_PATH, syscalls.RESOLVE_IN_ROOT)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    finally:
        os.close(root)


def real_path(path: str, automounts: Sequence[str] = ()) -> bytes:
    """Absolute path without symlinks, undecoded, resolved as the kernel does: `..` after a symlink leaves its target.

    Resolution ends at a mount point in *automounts*, because the next lookup would trigger the mount.
    *Errors*: of readlink(2) and lstat(2).
    """
    here, links = "/", 0
    rest = path.split("/")[::-1]
    while rest:
        name = rest.pop()
        if name in ("", ".", ".."):
            if not stat.S_ISDIR(os.lstat(here).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            here = os.path.dirname(here) if name == ".." else here
            continue
        step = os.path.join(here, name)
        if step in automounts:
            return os.fsencode(step)
        try:
            target = os.readlink(step)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            here = step  # no symlink
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        rest += target.split("/")[::-1]
        here = "/" if target.startswith("/") else here
    return os.fsencode(here)


def is_sealed(path: str) -> bool:
    """Whether nothing can be written there for the mount or the file system: a read-only subvolume of btrfs is one."""
    try:
        syscalls.access(path, os.W_OK)
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def status(path: str) -> bytes:
    """stat(2) of a file, symlinks followed, as a FileStatus in JSON."""
    handle = open_path(path)
    try:
        seen = os.fstat(handle)
    finally:
        os.close(handle)
    return msgspec.json.encode(FileStatus(seen.st_mode, seen.st_uid, seen.st_size, seen.st_mtime, seen.st_ctime))


def names(path: str, limit: int) -> bytes:
    """Sorted names in a directory as JSON; `null` when there are more than *limit*."""
    handle = open_path(path)
    try:
        with os.scandir(f"/proc/self/fd/{handle}") as entries:
            found = [entry.name for _, entry in zip(range(limit + 1), entries, strict=False)]
    finally:
        os.close(handle)
    return b"null" if len(found) > limit else json.dumps(sorted(found)).encode()


def read_beneath(directory: str, path: str, limit: int) -> bytes:
    """Content of a regular file below *directory*; OSError with ELOOP when its path contains a symlink."""
    parent = open_path(directory)
    try:
        found = syscalls.openat2(parent, path, os.O_PATH | os.O_NOFOLLOW, syscalls.RESOLVE_NO_SYMLINKS)
    finally:
        os.close(parent)
    return read_file(found, limit)


def read_file(handle: int, limit: int) -> bytes:
    """Content of the regular file behind an O_PATH descriptor, which is closed.

    The type is checked before the open: opening a FIFO blocks, and opening a device node may have side effects.
    """
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is not a regular file")
        fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(handle)
    try:
        content = bytearray()
        # In pieces: for /proc/sys the kernel allocates the whole size requested, and a large one fails with ENOMEM.
        while chunk := os.read(fd, min(_PIECE, limit + 1 - len(content))):  # unlike FileIO.read, EAGAIN is an error
            content += chunk
    finally:
        os.close(fd)
    if len(content) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    return bytes(content)
