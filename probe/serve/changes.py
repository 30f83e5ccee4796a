"""Wait for changes in directories with inotify(7), so that an idle process sleeps."""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Iterable

_CREATE, _ATTRIB, _CLOSE_WRITE, _MOVED_TO, _DELETE, _DELETE_SELF = 0x100, 0x4, 0x8, 0x80, 0x200, 0x400
_ONLYDIR, _IGNORED = 0x1000000, 0x8000
_MASK = _CREATE | _ATTRIB | _CLOSE_WRITE | _MOVED_TO | _DELETE | _DELETE_SELF | _ONLYDIR
_EVENT = 16  # bytes of struct inotify_event before the name
_QUIET = 0.02  # seconds: changes within this time count as one, which also bounds the cost of a flood

_libc = ctypes.CDLL(None, use_errno=True)
_libc.inotify_init1.argtypes = [ctypes.c_int]
_libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]


class Changes:
    """Watched directories. Without inotify, `wait` returns after *fallback* seconds.

    A user has 128 inotify instances by default (fs.inotify.max_user_instances), shared by all Pods of the same UID.
    """

    def __init__(self, directories: Iterable[str], fallback: float) -> None:
        self._fallback = fallback
        self._watches: dict[str, int] = dict.fromkeys(directories, -1)
        self._descriptor = int(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
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
            self._watches[directory] = int(_libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _MASK))
        return any(self._watches[directory] >= 0 for directory in missing)

    def _drain(self) -> None:
        """Read all events; a removed directory is marked as missing."""
        try:
            while events := os.read(self._descriptor, 64 << 10):
                start = 0
                while start < len(events):
                    watch, mask = (int.from_bytes(events[start + at : start + at + 4], "little") for at in (0, 4))
                    if mask & _IGNORED:
                        self._watches = {path: -1 if one == watch else one for path, one in self._watches.items()}
                    start += _EVENT + int.from_bytes(events[start + 12 : start + 16], "little")
        except BlockingIOError:
            pass
