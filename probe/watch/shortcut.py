"""The short cut of a look: fewer system calls than an exact look, which tell whether that would find a change.

A path leads elsewhere only after a change of a mount, or of an entry of a directory in which the kernel looks up a name
of the path; that sets the time of change (st_ctime) of the directory. So an exact look would find nothing while the
times of these directories, or the entries in question, and the files at the ends of the paths are as they were.

inotify(7) would take one of 128 instances by default (fs.inotify.max_user_instances), which kubelet, container runtime
and systemd need, and it reports no write through mmap(2).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat

from probe.host.look import look, reachable
from probe.watch.states import FIELDS, INODE, Descriptors, directory_of, entry_of, file_of, inode_of, place_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # `watch` holds for ever what it imports, and typing takes 0.6 MB
    from typing import Any

    from probe.watch.states import State

Source = tuple[str, str, str]
"""Kind and path of a look, and the look itself."""
_LOCAL = frozenset(
    ("bcachefs", "btrfs", "devtmpfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "overlay", "squashfs", "tmpfs", "xfs")
)
"""File systems that set st_ctime of a directory with each change of an entry; servers and the kernel's own may not: of
a directory there, each entry that a path names is compared."""
_SETTLED = 1_000_000_000
"""Nanoseconds, more than the granularity of st_ctime: a directory that changed so long ago gets another time."""
ABSENT = "errno 2"
_EXECUTABLE = re.compile(r"/proc/\d+/exe")


class Shortcut:
    """The states in which an exact look finds nothing.

    A look every 15 seconds finds all caches of the processor cold, so it touches as little memory as it can: states of
    one kind are asked for in one go, and compared as lists.
    """

    def __init__(
        self, states: Iterable[State], entries: Mapping[str, Sequence[State]], others: Iterable[Source]
    ) -> None:
        """*entries*: directory -> the states of the entries that paths name. *others*: each look at them is exact."""
        self._states: dict[Callable[[str], Any], tuple[list[str | int], list[str], list[Any]]] = {}
        for state, path, result in states:
            places, paths, results = self._states.setdefault(state, ([], [], []))
            places.append(path)
            paths.append(path)
            results.append(result)
        self._descriptors: Descriptors | None = None
        self._entries = entries
        self._others = tuple(others)
        absent = [path for kind, path, seen in self._others if (kind, seen) == ("content", ABSENT)]
        self._absent = list(dict.fromkeys(map(_first_absent, absent)))
        links = [(path, seen) for kind, path, seen in self._others if kind == "link" and not seen.startswith("errno")]
        self._links, self._targets = [path for path, _ in links], [seen for _, seen in links]
        known = {*absent, *self._links}
        self._looked_at = [source for source in self._others if source[1] not in known or source[0] == "file"]

    def difference(self) -> str:
        """The first path that is in another state, or cannot be looked at; empty when all is the same."""
        for state, (places, paths, results) in self._states.items():
            path = ""
            try:
                # Not one call of `state` for each path: calls take as long as system calls.
                fields = FIELDS.get(state)
                found = [fields(os.stat(place)) for place in places] if fields else list(map(state, paths))
            except OSError:
                return next((path for path in paths if not os.path.exists(path)), paths[0])
            if found != results and (path := self._other(state, paths, found, results)):
                return path
        if not (differs := self._other_source()) and not self._descriptors:
            self._descriptors = self._hold()
        return differs

    def close(self) -> None:
        """Close all descriptors; `difference` is not called again."""
        if self._descriptors:
            self._descriptors.close()

    def _hold(self) -> Descriptors:
        """Have the next look ask descriptors, in place of paths. A short cut that held once does so for long."""
        descriptors = Descriptors()
        for state, (places, paths, results) in self._states.items():
            if state in FIELDS:
                places[:] = map(descriptors.of, paths, repeat(FIELDS[state]), results)
        return descriptors

    def _other_source(self) -> str:
        """The first path of the sources that have no states, and that differs; empty when none does."""
        path = ""
        try:
            # access(2) takes a fifth of the time of open(2)
            if path := next((path for path in self._absent if os.access(path, os.F_OK)), ""):
                return path
            for path, target in zip(self._links, self._targets, strict=True):
                if os.readlink(path) != target:
                    return path
            roots: dict[str, bool] = {}
            for kind, path, seen in self._looked_at:
                if look(kind, path, roots) != seen:
                    return path
        except OSError:
            return path
        return ""

    def _other(self, state: Callable[[str], Any], paths: list[str], found: list[Any], results: list[Any]) -> str:
        """The first path whose result counts as another one; the time of a directory without a change counts anew."""
        for index, path in enumerate(paths):
            if found[index] == results[index]:
                continue
            if state is not directory_of or not self._is_same_directory(path, found[index], results[index]):
                return path
            if found[index][-1] < time.time_ns() - _SETTLED:
                results[index] = found[index]
        return ""

    def _is_same_directory(self, path: str, found: Any, result: Any) -> bool:
        """Whether it is a directory in which no entry changed that a path names."""
        return found[:-1] == result[:-1] and all(same(entry) == before for same, entry, before in self._entries[path])


def find_shortcut(sources: Iterable[Source], types: Mapping[str, str]) -> Shortcut:
    """The short cut for *sources*, to be found before an exact look.

    *types*: device as `major:minor` -> type of its file system, of the mounts in this mount namespace.
    """
    finder = _Finder(types)
    others = [source for source in sources if not finder.add(*source)]
    return Shortcut(finder.states(), finder.entries(), others)


class _Finder:
    """The states that looks at sources outside of /proc depend on."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._settled = time.time_ns() - _SETTLED
        self._states: dict[tuple[object, object], State] = {}  # by function, and inode or path
        self._names: dict[str, set[str]] = {}  # directory -> paths of its entries that are looked up
        self._paths: dict[object, set[str]] = {}  # inode of a directory -> its paths
        self._passed: dict[str, frozenset[str]] = {"/": frozenset()}
        self._timed: dict[str, bool | None] = {}  # directory -> as `_add_new_directory` says
        self._same_root: dict[str, bool] = {}

    def states(self) -> Iterator[State]:
        """All states that no other one covers: `file_of` tells all of an inode, `directory_of` all of a place."""
        for (function, inode), state in self._states.items():
            _, path, result = state
            entry = self._states.get((entry_of, path))
            covered = function in (place_of, directory_of) and (file_of, inode) in self._states
            if function is place_of:
                covered |= (directory_of, inode) in self._states or bool(entry and entry[2] == result)
            if not covered:
                yield state

    def entries(self) -> dict[str, list[State]]:
        """Directory that is compared by its time -> the states of its entries that paths name."""
        return {
            path: [(entry_of, entry, entry_of(entry)) for each in self._paths[inode] for entry in self._names[each]]
            for (function, inode), (_, path, _) in self._states.items()
            if function is directory_of
        }

    def add(self, kind: str, path: str, seen: str) -> bool:
        """True when a look at the source depends on nothing but `states`, which are more afterwards."""
        if kind not in ("file", "link", "place") or (seen.startswith("errno") and seen != ABSENT):
            return False
        try:
            if kind == "file" and _EXECUTABLE.fullmatch(path) and seen != ABSENT:
                # The kernel's link to an inode, not to a path.
                self._states[file_of, path] = file_of, path, file_of(path)
                return True
            reached = reachable(path, self._same_root)
            for directory in self._passes(reached):
                self._add_directory(directory)
            if seen != ABSENT and kind != "link":
                self._add(file_of if kind == "file" else place_of, reached, os.stat(reached))
            if reached != path:
                root = path[: -len(reached)]
                self._states[inode_of, root] = inode_of, root, inode_of(root)
        except (OSError, ValueError, RecursionError):  # RecursionError: symlinks in a circle, or thousands of names
            return False
        return True

    def _passes(self, path: str) -> frozenset[str]:
        """The directories in which the kernel looks up the names of the absolute *path*, each by a path of its own."""
        if path not in self._passed:
            parent = path.rpartition("/")[0] or "/"
            passed = self._passes(parent) | {parent}
            self._names.setdefault(parent, set()).add(path)
            with contextlib.suppress(OSError):  # EINVAL when it is not a symlink, ENOENT
                passed |= self._passes(os.path.join(parent, os.readlink(path)))
            self._passed[path] = passed
        return self._passed[path]

    def _add_directory(self, path: str) -> None:
        """*Errors*: ValueError in /proc, where a link may lead anywhere; OSError."""
        if path not in self._timed:
            self._timed[path] = self._add_new_directory(path)
        if self._timed[path] is False:
            for entry in self._names[path]:
                if (entry_of, entry) not in self._states:
                    self._states[entry_of, entry] = entry_of, entry, entry_of(entry)

    def _add_new_directory(self, path: str) -> bool | None:
        """Whether the time of the directory tells of all changes; None for one that is absent."""
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):  # before it appears, a directory above it changes
            return None
        kind = self._type(status.st_dev)
        if kind == "proc":
            raise ValueError(f"{path} has magic links")
        if kind in _LOCAL and status.st_ctime_ns < self._settled:
            self._add(directory_of, path, status)
            self._paths.setdefault(INODE(status), set()).add(path)
            return True
        self._add(place_of, path, status)
        return False

    def _type(self, device: int) -> str:
        """The type of the file system; a subvolume of btrfs has a device that is in no mount table."""
        types = self._types
        name = f"{os.major(device)}:{os.minor(device)}"
        return types.get(name, "btrfs" if "btrfs" in types.values() else "")

    def _add(self, function: Callable[[str], object], path: str, status: os.stat_result) -> None:
        self._states[function, INODE(status)] = function, path, FIELDS[function](status)


def _first_absent(path: str) -> str:
    """*path*, or the first directory on its way that is absent; others in that one need no look of their own."""
    parent = os.path.dirname(path)
    return path if parent == path or os.access(parent, os.F_OK) else _first_absent(parent)
