"""States that the kernel watches by inotify(7), so that a look need not ask for them until something happens.

The kernel charges an instance and its watches to the user that made the instance. root has 128 by default
(fs.inotify.max_user_instances), which kubelet, container runtime and systemd need: this one is charged to a user that
nobody is.

inotify reports no write through mmap(2), but the close of the file that was mapped, and nothing of a writer that never
closes; so a look that somebody asks for does not rely on it.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import time
from collections.abc import Callable, Iterable, Iterator

from probe.watch.inotify import (
    IN_ATTRIB,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_DONT_FOLLOW,
    IN_MASK_ADD,
    IN_MODIFY,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONESHOT,
    IN_Q_OVERFLOW,
    inotify_add_watch,
    inotify_init1,
    read_events,
)
from probe.watch.states import entry_of, place_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # `watch` holds for ever what it imports, and typing takes 0.6 MB
    from probe.watch.states import State

NOBODY = 0xFFFF_FFF0
"""A user that has neither an account nor a process."""
QUIET = 3600 * 10**9
"""Nanoseconds without a change after which a directory is watched.

To watch one takes the kernel 100 nanoseconds for each name that it remembers there, also of files that are long gone,
and it blocks others meanwhile: 18 milliseconds in a /tmp where much had happened.
"""
# A watch ends with its first event: a file that changes all the time costs nobody anything, and no queue gets long.
_ITSELF = IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONESHOT | IN_MASK_ADD
_CONTENT = IN_MODIFY | IN_CLOSE_WRITE
_ENTRIES = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO


class Watched:
    """An inotify instance with one watch for each file or directory of the states that can be watched."""

    def __init__(self, states: Iterable[State], type_of: Callable[[int], str], types: frozenset[str]) -> None:
        """*type_of*: the type of the file system on a device. *types*: those that all changes reach by this kernel.

        *Errors*: OSError when there is no instance to be had.
        """
        self._descriptor = _instance()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._states: dict[int, list[State]] = {}
        self.others: list[State] = []
        """States that are not watched."""
        for state in states:
            wanted = list(_events_of(state, type_of, types))
            watches = [inotify_add_watch(self._descriptor, path, mask) for path, mask in wanted]
            if not watches or min(watches) < 0:
                self.others.append(state)
            else:
                for watch in watches:
                    self._states.setdefault(watch, []).append(state)

    def happened(self) -> list[State]:
        """The states of the files that something happened to. They are watched no longer. *Errors*: OSError."""
        found: list[State] = []
        while self._poll.poll(0):
            for watch, mask in read_events(self._descriptor):
                found += self._states.pop(watch, ())
                if mask & IN_Q_OVERFLOW:
                    found += [state for states in self._states.values() for state in states]
                    self._states.clear()
        return found

    def close(self) -> None:
        """End all watches."""
        os.close(self._descriptor)


def _instance() -> int:
    """*Errors*: OSError where this process may not become another user, or that one has no instance left."""
    own = os.geteuid()
    os.seteuid(NOBODY)
    try:
        descriptor = inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.seteuid(own)  # with which all capabilities come back: the real user was root all the time
    if descriptor < 0:
        raise OSError("no inotify instance")
    return descriptor


def _events_of(state: State, type_of: Callable[[int], str], types: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Paths and events that together tell of each change of *state*; none when there are none such."""
    function, path, result = state
    place = os.path.dirname(path) if function is entry_of else path
    with contextlib.suppress(OSError):
        status = os.stat(place)
        kind, mode = type_of(status.st_dev), status.st_mode
        if kind not in types:
            return
        if stat.S_ISDIR(mode) and (mode & stat.S_IWOTH or status.st_ctime_ns > time.time_ns() - QUIET):
            return  # others make files there
        if function is entry_of and result:  # who changes it by another hard link does so in another directory
            yield path, _ITSELF | IN_DONT_FOLLOW
        if stat.S_ISDIR(mode):
            yield place, _ITSELF | (0 if function is place_of else _ENTRIES)
        elif kind != "overlay" or status.st_nlink == 1:  # each lookup of a lower hard link there may make another inode
            # A device has no content of which its file would tell.
            yield place, _ITSELF | (0 if function is place_of or stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else _CONTENT)
