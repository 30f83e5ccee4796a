"""Wait for changes in directories with inotify(7), so that an idle process sleeps."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable

from probe.watch.inotify import (
    IN_ATTRIB,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_MOVED_TO,
    IN_ONLYDIR,
    inotify_add_watch,
    inotify_init1,
    read_events,
)

_MASK = IN_CREATE | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR
_QUIET = 0.02  # seconds: changes within this time count as one, which also bounds the cost of a flood


class Changes:
    """Watched directories. Without inotify, `wait` returns after *fallback* seconds.

    A user has 128 inotify instances by default (fs.inotify.max_user_instances), shared by all Pods of the same UID.
    """

    def __init__(self, directories: Iterable[str], fallback: float) -> None:
        self._fallback = fallback
        self._watches: dict[str, int] = dict.fromkeys(directories, -1)
        self._descriptor = inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        if self._descriptor >= 0:
            self._poll.register(self._descriptor, select.POLLIN)

    def wait(self, seconds: float) -> None:
        """Return after a change, and after *seconds* at the latest.

        Also at once when a directory is watched from now on: nobody saw what changed before.
        """
        if self._descriptor >= 0 and self._add_missing():
            return
        if self._descriptor < 0 or -1 in self._watches.values():
            seconds = min(seconds, self._fallback)
        if self._poll.poll(max(0.0, seconds) * 1000):
            time.sleep(_QUIET)
            self._drain()

    def _add_missing(self) -> bool:
        """Watch the directories that are not watched; true when one is from now on."""
        missing = [directory for directory, watch in self._watches.items() if watch < 0]
        for directory in missing:
            self._watches[directory] = inotify_add_watch(self._descriptor, directory, _MASK)
        return any(self._watches[directory] >= 0 for directory in missing)

    def _drain(self) -> None:
        """Read all events; a removed directory is marked as missing."""
        try:
            while True:
                for watch, mask in read_events(self._descriptor):
                    if mask & IN_IGNORED:
                        self._watches = {path: -1 if one == watch else one for path, one in self._watches.items()}
        except BlockingIOError:
            pass
