"""The wait for connections and requests, in place of the connection manager of cheroot.

That one makes two buffers for each connection, and takes it out of its selector for each request; each scrape is a
connection. Here a connection that no worker has is a socket, and its timeout is that of the wait.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Protocol

from probe.serve.connection import Connection
from probe.serve.connections import Limiter

_BACKOFF = 0.02  # seconds after a failure of accept(2), as for want of descriptors


class Taker(Protocol):
    """The server, which takes what is new or readable."""

    limiter: Limiter
    keep_alive_conn_limit: int

    def connect(self, accepted: socket.socket) -> Connection | None:
        """The connection behind an *accepted* socket, if there can be one."""

    def process_conn(self, connection: Connection) -> None:
        """Handle a connection that is new or readable."""


class Selector:
    """The listening socket and the connections that no worker has. Any thread may call `put`."""

    def __init__(self, server: Taker, listening: socket.socket) -> None:
        self.is_serving = False
        self._server, self._listening = server, listening
        self._listening.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listening, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._stopping = False

    @property
    def can_add_keepalive_connection(self) -> bool:
        """True when one more connection may be kept open after a response."""
        return len(self._connections) < self._server.keep_alive_conn_limit

    def put(self, connection: Connection) -> None:
        """Wait until *connection* is readable."""
        descriptor = connection.socket.fileno()
        if self._connections.get(descriptor) is connection:
            return
        self._connections[descriptor] = connection
        try:
            self._epoll.register(descriptor, select.EPOLLIN)
        except (OSError, ValueError):  # the server stopped meanwhile
            connection.close()

    def take(self, connection: Connection) -> None:
        """Wait for it no longer, since a worker gets it."""
        descriptor = connection.socket.fileno()
        if self._connections.pop(descriptor, None):
            self._epoll.unregister(descriptor)

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is to be closed."""
        descriptor = connection.socket.fileno()
        if self._connections.get(descriptor) is connection:
            del self._connections[descriptor]  # the kernel forgets a descriptor that is closed

    def run(self, _interval: float) -> None:
        """Have the server process what is new or readable, until `stop`."""
        self.is_serving = True
        try:
            while not self._stopping:
                self._turn()
        finally:
            self.is_serving = False

    def stop(self) -> None:
        """End `run`, which has to be woken by a connection."""
        self._stopping = True
        while self.is_serving:
            time.sleep(0.01)

    def close(self) -> None:
        """Close all connections here."""
        for connection in list(self._connections.values()):
            connection.close()
        self._epoll.close()

    def _turn(self) -> None:
        pause = self._server.limiter.pause()
        began = 0.0 if pause is None else time.monotonic()
        for descriptor, _ in self._epoll.poll(pause):
            if descriptor == self._listening.fileno():
                self._accept()
            elif connection := self._connections.get(descriptor):
                self._server.process_conn(connection)
        if pause is not None and time.monotonic() >= began + pause:
            self._server.limiter.expire()

    def _accept(self) -> None:
        try:
            made, _ = self._listening.accept()
        except (BlockingIOError, ConnectionError):
            return  # the client is gone
        except OSError:
            time.sleep(_BACKOFF)
            raise
        if connection := self._server.connect(made):
            self._server.process_conn(connection)
