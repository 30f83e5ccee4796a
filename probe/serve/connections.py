"""Limits on connections: how many may be in each phase, and for how long."""

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
"""Maximum connections without a request since the start or the last response."""
WAITING_LIMIT = 64
"""Maximum connections with a request that wait for a free worker."""

Phase = Literal["new", "idle", "kept", "waiting", "reading", "answering", "sending"]
"""Of a connection; `kept`: idle after a response that no worker sent."""
TIMEOUTS: dict[Phase, float] = {"idle": 5, "kept": 75, "waiting": 5, "reading": 5, "answering": 10, "sending": 10}
"""Timeout of each phase in seconds, without load. Prometheus, by default, asks again a minute after a response."""
TIMEOUTS_UNDER_LOAD: dict[Phase, float] = {"reading": 0.05, "sending": 0.25}
"""Timeout in seconds while other connections wait for a worker."""
_TICK = 0.02  # seconds between two checks while connections wait


class Tracked:
    """A connection, as the Limiter sees it."""

    socket: socket.socket
    phase: Phase = "new"
    since = 0.0
    """Start of its phase, in seconds of time.monotonic()."""
    dropped = False

    def drop(self) -> None:
        """Shut the socket down, which wakes a thread that waits on it."""
        self.dropped = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)  # SSLSocket.shutdown would disturb a reader

    def is_silent(self) -> bool:
        """True when all received bytes were read, so the worker waits for the client."""
        unread = array.array("i", [0])
        try:
            fcntl.ioctl(self.socket, termios.FIONREAD, unread)
        except (OSError, ValueError):
            return True
        return not unread[0]


class Limiter:
    """Moves connections through their phases and drops those that exceed a limit. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: dict[Tracked, None] = {}  # ordered by the start of their phase

    def move(self, connection: Tracked, phase: Phase) -> bool:
        """Note that *connection* enters or stays in *phase*; False when it was dropped."""
        with self._lock:
            if connection.dropped:
                return False
            if connection.phase == phase != "kept" and connection in self._connections:
                return True
            self._connections.pop(connection, None)
            self._connections[connection] = None
            connection.phase, connection.since = phase, time.monotonic()
            if len(self._connections) > WORKERS:  # so many exceed no limit, but for a timeout
                self._make_room()
            return not connection.dropped

    def leave(self, connection: Tracked) -> None:
        """Forget a closed connection."""
        with self._lock:
            self._connections.pop(connection, None)

    def is_empty(self) -> bool:
        """True without any connection."""
        with self._lock:
            return not any(connection.phase not in ("new", "idle", "kept") for connection in self._connections)

    def drop_all(self) -> None:
        """Drop all connections."""
        with self._lock:
            self._drop(list(self._connections))

    def pause(self) -> float | None:
        """Seconds until `expire` may find a connection to drop; None without a connection.

        Connections may come and move meanwhile, if the caller of this method learns of those that come, and moves
        those that no worker has.
        """
        with self._lock:
            if not self._connections:
                return None
            now, pause = time.monotonic(), TIMEOUTS["kept"]
            for one in self._connections:
                if one.phase == "waiting":
                    return _TICK
                left = one.since + TIMEOUTS[one.phase] - now
                pause = min(pause, left if one.phase in ("idle", "kept") else min(left, TIMEOUTS["idle"]))
        return max(pause, 0.0) + _TICK

    def expire(self) -> None:
        """Drop connections at their timeout."""
        with self._lock:
            self._make_room()

    def _make_room(self) -> None:
        now = time.monotonic()
        self._drop([one for one in self._connections if now - one.since > TIMEOUTS[one.phase]])
        for phase, limit in (("idle", IDLE_LIMIT), ("waiting", WAITING_LIMIT)):
            self._drop(self._in(phase)[:-limit])
        waiting = len(self._in("waiting"))
        busy = [one for one in self._connections if one.phase in ("reading", "answering", "sending")]
        slow = [
            one
            for one in busy
            if now - one.since > TIMEOUTS_UNDER_LOAD.get(one.phase, TIMEOUTS[one.phase])
            and (one.phase != "reading" or one.is_silent())
        ]
        self._drop(slow[: max(0, len(busy) + waiting - WORKERS)])

    def _in(self, phase: str) -> list[Tracked]:
        return [one for one in self._connections if one.phase == phase]

    def _drop(self, connections: Iterable[Tracked]) -> None:
        for connection in connections:
            del self._connections[connection]
            connection.drop()
