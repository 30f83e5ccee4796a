"""The short cut of a look: fewer system calls than an exact look, which tell whether that would find a change.

A path leads elsewhere only after a change of a mount, or of an entry of a directory in which the kernel looks up a name
of the path; that sets the time of change (st_ctime) of the directory. So an exact look would find nothing while the
times of these directories, or the entries in question, and the files at the ends of the paths are as they were.

Where inotify(7) tells of each change, states are not even asked for until one happens.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from probe.host.look import is_program, look, reachable
from probe.watch import asked
from probe.watch.asked import Asked
from probe.watch.links import Links
from probe.watch.states import FIELDS, INODE, directory_of, entry_of, file_of, inode_of, place_of
from probe.watch.watched import Watched

TYPE_CHECKING = False
if TYPE_CHECKING:  # `watch` holds for ever what it imports, and typing takes 0.6 MB
    from probe.watch.states import State

Source = tuple[str, str, str]
"""Kind and path of a look, and the look itself."""
LOCAL = frozenset(
    ("bcachefs", "btrfs", "devtmpfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "overlay", "squashfs", "tmpfs", "xfs")
)
"""File systems that set st_ctime of a directory with each change of an entry, and that all changes reach through this
kernel; servers and the kernel's own may not: of a directory there, each entry that a path names is compared."""
ABSENT = "errno 2"
_EXECUTABLE = re.compile(r"/proc/\d+/exe")


class Shortcut:
    """The states in which an exact look finds nothing."""

    def __init__(
        self,
        states: Iterable[State],
        entries: Mapping[str, Sequence[State]],
        others: Iterable[Source],
        type_of: Callable[[int], str],
    ) -> None:
        """*entries*: directory -> the states of the entries that paths name. *others*: each look at them is exact.

        *type_of*: the type of the file system on a device.
        """
        self._states = tuple(states)
        self._entries = entries
        self._type_of = type_of
        self._all = self._asked = Asked(self._states, entries)
        self._watched: Watched | None = None
        self.is_held = False
        """Whether it held once; from then on a look that is not full may be made."""
        self._others = tuple(others)
        absent = [path for kind, path, seen in self._others if (kind, seen) == ("content", ABSENT)]
        self._absent = list(dict.fromkeys(map(_first_absent, absent)))
        self._links = Links(
            (path, seen)
            for kind, path, seen in self._others
            if kind == "link" and path.startswith("/proc/") and not seen.startswith("errno")
        )
        known = {*absent, *self._links.paths}
        self._looked_at = [source for source in self._others if source[1] not in known or source[0] == "file"]

    def difference(self, *, full: bool = True) -> str:
        """The first path that is in another state, or cannot be looked at; empty when all is the same.

        Unless it is *full*, files count as the same that the kernel watches while nothing happened to them, and the
        kernel's own files but for links that tell which program a process executes and what namespaces it is in.
        *Errors*: OSError.
        """
        if self.is_held and not full:
            if self._watched and (happened := self._watched.happened()):
                self._asked.add(happened)
            return self._asked.difference() or self._links.held_difference() or self._exact_difference()
        differs = self._all.difference() or self._appeared() or self._links.difference() or self._exact_difference()
        return differs if differs or self.is_held else self._hold()

    def close(self) -> None:
        """Close all descriptors; `difference` is not called again."""
        self._asked.close()
        self._links.close()
        if self._watched:
            self._watched.close()

    def _hold(self) -> str:
        """Have the next looks ask little. A short cut that held once does so for long. The same as of `difference`."""
        try:
            self._links.hold()
        except OSError:  # no descriptor is left: the next look is a full one, too
            self._links.close()
            return ""
        self.is_held = True
        # Roots of processes and what is in /sys hardly ever change; only a full look asks for them.
        states = [
            state for state in self._states if state[0] is not inode_of and not f"{state[1]}/".startswith("/sys/")
        ]
        # A path in /proc leads elsewhere without an event, unless it is a link that each look reads, too.
        led = [state for state in states if state[1].startswith("/proc/") and state[1] not in self._links.paths]
        others = [state for state in states if state not in led]
        with contextlib.suppress(OSError):
            self._watched = Watched(others, self._type_of, LOCAL)
            others = self._watched.others
        # Something may have happened before a file was watched.
        differs = self._all.difference() if self._watched else ""
        self._asked = Asked([*led, *others], self._entries)
        self._asked.hold()
        return differs

    def _appeared(self) -> str:
        """The first of the kernel's files that was absent."""
        # access(2) takes a fifth of the time of open(2)
        return next((path for path in self._absent if os.access(path, os.F_OK)), "")

    def _exact_difference(self) -> str:
        """The first path of the sources that have no states, and that differs; empty when none does."""
        roots: dict[str, bool] = {}
        for kind, path, seen in self._looked_at:
            if look(kind, path, roots) != seen:
                return path
        return ""


def find_shortcut(sources: Iterable[Source], types: Mapping[str, str]) -> Shortcut:
    """The short cut for *sources*, to be found before an exact look.

    *types*: device as `major:minor` -> type of its file system, of the mounts in this mount namespace.
    """
    finder = _Finder(types)
    others = [source for source in sources if not finder.add(*source)]
    return Shortcut(finder.states(), finder.entries(), others, finder.type_of)


class _Finder:
    """The states that looks at sources outside of /proc depend on."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._settled = time.time_ns() - asked.SETTLED
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
                status = os.stat(reached)
                self._add(file_of if kind == "file" or is_program(status.st_mode) else place_of, reached, status)
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
        kind = self.type_of(status.st_dev)
        if kind == "proc":
            raise ValueError(f"{path} has magic links")
        if kind in LOCAL and status.st_ctime_ns < self._settled:
            self._add(directory_of, path, status)
            self._paths.setdefault(INODE(status), set()).add(path)
            return True
        self._add(place_of, path, status)
        return False

    def type_of(self, device: int) -> str:
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
