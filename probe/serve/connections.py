"""Who is served, who waits, and who makes room: limits in time and number for connections in each phase."""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import termios
import threading
import time
from collections.abc import Iterable
from typing import Literal

WORKERS = 8
IDLE_LIMIT = 100
"""Connections that have not said anything yet, or since their last answer."""
WAITING_LIMIT = 64
"""Connections that said something, and for which no worker is free yet."""

Phase = Literal["new", "idle", "waiting", "reading", "answering", "sending"]
PATIENCE: dict[Phase, float] = {"idle": 5, "waiting": 5, "reading": 5, "answering": 10, "sending": 10}
"""Seconds that a connection may spend in each phase, even when nobody needs its place."""
PATIENCE_WHILE_OTHERS_WAIT: dict[Phase, float] = {"reading": 0.05, "sending": 0.25}
"""Seconds that it may keep a worker waiting when somebody else needs it."""
_TICK = 0.02  # seconds between two looks while somebody waits


class Guest:
    """A connection, as the door knows it."""

    socket: socket.socket
    phase: Phase = "new"
    since = 0.0
    """When its phase began, in seconds of time.monotonic()."""
    dropped = False

    def drop(self) -> None:
        """Shut it down under whoever waits for it."""
        self.dropped = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)  # not that of SSLSocket, which would disturb a reader

    def is_silent(self) -> bool:
        """Whether all it sent was read, so that it is the client who is waited for."""
        unread = array.array("i", [0])
        try:
            fcntl.ioctl(self.socket, termios.FIONREAD, unread)
        except (OSError, ValueError):
            return True
        return not unread[0]


class Door:
    """All its methods may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._somebody_waits = threading.Event()
        self._inside: dict[Guest, None] = {}  # in the order in which they came into their phase

    def move(self, guest: Guest, phase: Phase) -> bool:
        """It comes into *phase*, or stays in it; False when it was dropped."""
        with self._lock:
            if guest.dropped:
                return False
            if guest.phase == phase and guest in self._inside:
                return True
            self._inside.pop(guest, None)
            self._inside[guest] = None
            guest.phase, guest.since = phase, time.monotonic()
            self._make_room()
            return not guest.dropped

    def leave(self, guest: Guest) -> None:
        """It is closed."""
        with self._lock:
            self._inside.pop(guest, None)

    def is_empty(self) -> bool:
        """Whether nobody is being served."""
        with self._lock:
            return not any(guest.phase not in ("new", "idle") for guest in self._inside)

    def drop_all(self) -> None:
        """Nobody is served any more."""
        with self._lock:
            self._drop(list(self._inside))

    def keep(self) -> None:
        """Make room whenever it is needed, for ever."""
        while True:
            if self._somebody_waits.wait(0.5):
                time.sleep(_TICK)
            with self._lock:
                self._make_room()

    def _make_room(self) -> None:
        now = time.monotonic()
        self._drop([one for one in self._inside if now - one.since > PATIENCE[one.phase]])
        for phase, limit in (("idle", IDLE_LIMIT), ("waiting", WAITING_LIMIT)):
            self._drop(self._in(phase)[:-limit])
        waiting = len(self._in("waiting"))
        busy = [one for one in self._inside if one.phase in ("reading", "answering", "sending")]
        slow = [
            one
            for one in busy
            if now - one.since > PATIENCE_WHILE_OTHERS_WAIT.get(one.phase, PATIENCE[one.phase])
            and (one.phase != "reading" or one.is_silent())
        ]
        self._drop(slow[: max(0, len(busy) + waiting - WORKERS)])
        self._somebody_waits.set() if waiting else self._somebody_waits.clear()

    def _in(self, phase: str) -> list[Guest]:
        return [one for one in self._inside if one.phase == phase]

    def _drop(self, guests: Iterable[Guest]) -> None:
        for guest in guests:
            del self._inside[guest]
            guest.drop()
