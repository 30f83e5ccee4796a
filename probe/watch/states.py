"""States of paths that a look can compare, and descriptors of the files that the paths lead to."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from operator import attrgetter

from probe.host.look import traits

TYPE_CHECKING = False
if TYPE_CHECKING:  # `watch` holds for ever what it imports, and typing takes 0.6 MB
    from typing import Any

    State = tuple[Callable[[str], Any], str, Any]  # a function of a path, the path, and the result that it had

_LASTING = ("/", "/dev", "/run")
"""Paths of mounts that stay until all processes have ended. A descriptor of a file on any other would keep it busy."""

INODE = attrgetter("st_dev", "st_ino")
_FILE = attrgetter("st_dev", "st_ino", "st_mode", "st_uid", "st_size", "st_mtime_ns", "st_ctime_ns")


def _place(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_mode, *traits(status))


def _directory(status: os.stat_result) -> tuple[object, ...]:
    return _place(status), status.st_ctime_ns


def inode_of(path: str) -> object:
    """Device and inode number. *Errors*: OSError."""
    return INODE(os.stat(path))


def place_of(path: str) -> object:
    """Identity, mode and traits. *Errors*: OSError."""
    return _place(os.stat(path))


def directory_of(path: str) -> object:
    """Identity, mode, traits, and the time of change, which each change of an entry sets. *Errors*: OSError."""
    return _directory(os.stat(path))


def file_of(path: str) -> object:
    """All that a look at a file compares. *Errors*: OSError."""
    return _FILE(os.stat(path))


def entry_of(path: str) -> object:
    """Identity, mode and traits of an entry of a directory, of a symlink its target, too; None without an entry."""
    try:
        status = os.lstat(path)
        # A new symlink may have the inode number of the old one, and its time within a tick of the clock.
        return (_place(status), os.readlink(path)) if stat.S_ISLNK(status.st_mode) else _place(status)
    except (FileNotFoundError, NotADirectoryError):
        return None


FIELDS: dict[Callable[[str], object], Callable[[os.stat_result], object]] = {
    inode_of: INODE,
    place_of: _place,
    directory_of: _directory,
    file_of: _FILE,
}
"""Function of a path -> the same of its status."""


class Descriptors:
    """Open files of paths: fstat(2) with cold caches takes a quarter of the time of stat(2), which walks the path."""

    def __init__(self) -> None:
        self._open: list[int] = []
        self._mounts: set[bytes] = set()
        for path in _LASTING:
            with contextlib.suppress(OSError):
                self._mounts.add(_mount(self._opened(path)))
        self.close()

    def of(self, path: str, fields: Callable[[os.stat_result], object], result: object) -> str | int:
        """A descriptor of the file at *path* while the *fields* of its status are *result*; else the path itself.

        It holds until an entry of a directory changes in which the kernel looks up a name of the path. A path in /proc
        leads elsewhere without that, and stays a path.
        """
        if path.startswith("/proc/"):
            return path
        with contextlib.suppress(OSError):
            descriptor = self._opened(path)
            if fields(os.fstat(descriptor)) == result and _mount(descriptor) in self._mounts:
                return descriptor
            os.close(self._open.pop())
        return path

    def close(self) -> None:
        """Close all, so that what is removed is gone."""
        while self._open:
            os.close(self._open.pop())

    def _opened(self, path: str) -> int:
        self._open.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        return self._open[-1]


def _mount(descriptor: int) -> bytes:
    """Line of proc_pid_fdinfo(5) with the identifier of the mount. *Errors*: OSError."""
    information = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(information, 4096)
    finally:
        os.close(information)
    return next((line for line in content.split(b"\n") if line.startswith(b"mnt_id:")), b"")
