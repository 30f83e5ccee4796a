"""The short cut of a look: fewer system calls than an exact look, which tell whether that would find a change.

A path leads elsewhere only after a change of a mount, or of an entry of a directory in which the kernel looks up a name
of the path; that sets the time of change (st_ctime) of the directory. So an exact look would find nothing while these
directories, the files that are sources, and the sources on other file systems are as they were.

inotify(7) would take one of 128 instances by default (fs.inotify.max_user_instances), which kubelet, container runtime
and systemd need, and it reports no write through mmap(2).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter

from probe.host.look import look, reachable

Source = tuple[str, str, str]
"""Kind and path of a look, and the look itself."""
_Known = tuple[str, Callable[[os.stat_result], object], object]
"""A path, the fields of its stat(2) that count, and their values."""

_LOCAL = frozenset(
    ("bcachefs", "btrfs", "devtmpfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "overlay", "squashfs", "tmpfs", "xfs")
)
"""File systems that set st_ctime of a directory with each change of an entry; servers and the kernel's own may not."""
_SETTLED = 1_000_000_000
"""Nanoseconds, more than the granularity of st_ctime: a directory that changed before gets another time."""
_ABSENT = "errno 2"

_ROOT = attrgetter("st_dev", "st_ino")
_PLACE = attrgetter("st_dev", "st_ino", "st_mode")
_DIRECTORY = attrgetter("st_dev", "st_ino", "st_mode", "st_ctime_ns")
_FILE = attrgetter("st_dev", "st_ino", "st_mode", "st_uid", "st_size", "st_mtime_ns", "st_ctime_ns")
_FIELDS: dict[str, Callable[[os.stat_result], object] | None] = {"file": _FILE, "link": None, "place": _PLACE}
"""Fields of the file itself that a look of this kind covers."""


class Shortcut:
    """The state in which an exact look finds nothing."""

    def __init__(self, known: Iterable[_Known], others: Iterable[Source]) -> None:
        """*others*: the sources at which each look is exact."""
        self._known = tuple(known)
        self._others = tuple(others)

    def holds(self) -> bool:
        """Whether the state is the same; False also after an error."""
        stat = os.stat
        roots: dict[str, bool] = {}
        try:
            for path, fields, values in self._known:
                if fields(stat(path)) != values:
                    return False
            return all(_is_absent(source) or look(*source[:2], roots) == source[2] for source in self._others)
        except OSError:
            return False


def find_shortcut(sources: Iterable[Source], types: Mapping[str, str]) -> Shortcut | None:
    """The short cut for *sources*, to be found before an exact look; None while anything changed within a second.

    *types*: device as `major:minor` -> type of its file system, of the mounts in this mount namespace.
    """
    latest = time.time_ns() - _SETTLED
    finder = _Finder(types)
    others = [source for source in sources if not finder.add(*source)]
    if finder.latest_change > latest:
        return None
    return Shortcut(finder.known(), others)


class _Finder:
    """The states that looks at sources on local file systems depend on."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self.latest_change = 0
        """The latest st_ctime of all, in nanoseconds since the epoch."""
        self._types = types
        self._states: dict[tuple[object, object], _Known] = {}  # by what counts, and device and inode
        self._same_root: dict[str, bool] = {}
        self._passed: dict[str, frozenset[str]] = {"/": frozenset()}

    def known(self) -> Iterator[_Known]:
        """All states; that of a place which is one of the directories, once."""
        for (fields, inode), known in self._states.items():
            if fields is not _PLACE or (_DIRECTORY, inode) not in self._states:
                yield known

    def add(self, kind: str, path: str, seen: str) -> bool:
        """Whether the source has a short cut: its look depends on nothing but states that are `known` afterwards."""
        if kind not in _FIELDS or (seen.startswith("errno") and seen != _ABSENT):
            return False
        try:
            reached = reachable(path, self._same_root)
            for directory in self._passes(reached):
                self._add_directory(directory)
            if seen != _ABSENT and (fields := _FIELDS[kind]):
                self._add(reached, fields, os.stat(reached))
            if reached != path:
                root = path[: -len(reached)]
                self._add(root, _ROOT, os.stat(root))
        except (OSError, ValueError, RecursionError):  # RecursionError: symlinks in a circle, or thousands of names
            return False
        return True

    def _passes(self, path: str) -> frozenset[str]:
        """The directories in which the kernel looks up the names of the absolute *path*, each by a path of its own."""
        if path not in self._passed:
            parent = path.rpartition("/")[0] or "/"
            passed = self._passes(parent) | {parent}
            with contextlib.suppress(OSError):  # EINVAL when it is no symlink, ENOENT
                passed |= self._passes(os.path.join(parent, os.readlink(path)))
            self._passed[path] = passed
        return self._passed[path]

    def _add_directory(self, path: str) -> None:
        """*Errors*: ValueError on another file system; OSError."""
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):  # before it appears, a directory above it changes
            return
        device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
        # A subvolume of btrfs has a device that is in no mount table.
        kind = self._types.get(device, "btrfs" if "btrfs" in self._types.values() else "")
        if kind not in _LOCAL:
            raise ValueError(f"{path} is on {kind or device}")
        self._add(path, _DIRECTORY, status)

    def _add(self, path: str, fields: Callable[[os.stat_result], object], status: os.stat_result) -> None:
        self._states[fields, path if fields is _ROOT else _ROOT(status)] = path, fields, fields(status)
        if fields in (_DIRECTORY, _FILE):
            self.latest_change = max(self.latest_change, status.st_ctime_ns)


def _is_absent(source: Source) -> bool:
    """Whether it is a file of the kernel that was and is absent: access(2) takes a fifth of the time of open(2)."""
    kind, path, seen = source
    return kind == "content" and seen == _ABSENT and not os.access(path, os.F_OK)
