"""The HTTP server: cheroot, with limits that slow, hostile and silent clients cannot exhaust.

Cheroot gives each connection a worker until its request is read and its answer written, or a timeout passes; so as
many silent clients as there are workers would shut everybody else out. Here a connection gets a worker once it said
something, and loses it when it keeps the worker waiting while others wait. Whoever asks as clients do never notices.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import time
from typing import Any

from probe.serve import cheroot
from probe.serve.connections import WAITING_LIMIT, WORKERS, Limiter, Tracked
from probe.watch.log import log

HEADER_LIMIT = 16 << 10
"""Bytes of a request's line and headers; ten times what a browser sends."""
BACKLOG = 128
"""Connections that the kernel keeps until they are accepted."""
_KEEP_ALIVE = 10  # connections that may stay open between two requests


class Request(cheroot.HTTPRequest):
    """A request without a body: none of what is served takes one."""

    def parse_request(self) -> None:
        """Read line and headers; whatever cheroot stumbles over there is the client's fault."""
        try:
            super().parse_request()
        except OSError:
            raise
        except Exception:
            self.ready = False
            self.simple_response("400 Bad Request", "not understood\n")

    def respond(self) -> None:
        """Hand it to the application; a body is never read."""
        self.server.limiter.move(self.conn, "answering")
        if self.chunked_read or self.inheaders.get(b"Content-Length", b"0") != b"0":
            self.close_connection = True  # or cheroot would read the body to get at the next request
            if self.method in (b"GET", b"HEAD"):
                self.simple_response("413 Request Entity Too Large", "no request takes a body here\n")
                return
        super().respond()

    def write(self, chunk: bytes) -> None:
        """Send a part of the answer."""
        self.server.limiter.move(self.conn, "sending")
        super().write(chunk)


class Connection(Tracked, cheroot.HTTPConnection):
    """A connection that can be dropped whatever it is doing."""

    RequestHandlerClass = Request

    def communicate(self) -> bool:
        """Read one request and answer it; whether the connection stays open."""
        try:
            if not self.server.limiter.move(self, "reading"):
                return False
            if self.server.ssl_adapter is not None:
                # here, as a client could keep the thread that accepts waiting
                self.socket.do_handshake()  # type: ignore[attr-defined]
            return bool(super().communicate()) and not self.dropped  # type: ignore[no-untyped-call]
        except OSError:
            return False  # it went away, or speaks no TLS

    def close(self) -> None:
        """Close it; that it is gone already must not end the worker."""
        self.server.limiter.leave(self)
        try:
            super().close()
        except OSError:
            self.socket.close()
        # cheroot leaves the writer open, and from Python 3.13 on its finaliser prints a traceback for unsent bytes.
        with contextlib.suppress(OSError, ValueError):
            self.wfile.close()


class Server(cheroot.Server):
    """Cheroot with a Limiter, and nothing said about itself. At rest none of its threads wakes up."""

    ConnectionClass = Connection
    max_request_header_size = HEADER_LIMIT
    keep_alive_conn_limit = _KEEP_ALIVE
    expiration_interval = 3600  # seconds between two looks for expired connections: the Limiter drops them in time

    def __init__(self, address: tuple[str, int], application: Any, adapter: Any = None) -> None:
        super().__init__(
            address,
            application,
            numthreads=WORKERS,
            max=WORKERS,
            server_name="userns-probe",
            request_queue_size=BACKLOG,
            timeout=5,
            shutdown_timeout=1,
            accepted_queue_size=4 * WAITING_LIMIT,
            accepted_queue_timeout=1,
        )
        self.limiter = Limiter()
        self.ssl_adapter = adapter
        self._last_error = 0.0

    def process_conn(self, connection: Connection) -> None:
        """Take care of a connection that is new, or has something to read."""
        if connection.dropped:
            connection.close()
        elif connection.phase == "new":
            self.put_conn(connection)  # no worker before it says something
        else:
            self._to_worker(connection)

    def put_conn(self, connection: Connection) -> None:
        """Wait until a connection has something to read."""
        if self.limiter.move(connection, "idle"):
            super().put_conn(connection)
        else:
            connection.close()

    def wake(self) -> None:
        """Let the thread that accepts look around, which at rest it does not: a connection of our own arrives."""
        with contextlib.suppress(OSError, AttributeError), socket.socket(self.socket.family) as own:
            own.settimeout(0.1)
            own.connect(self.socket.getsockname())

    def _to_worker(self, connection: Connection) -> None:
        self.limiter.move(connection, "waiting")
        try:
            self.requests.put(connection)
        except queue.Full:
            connection.close()

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Log what is our fault, once a second at most: clients must not be able to fill the disk."""
        now = time.monotonic()
        if level >= logging.ERROR and now - self._last_error > 1:
            self._last_error = now
            log("http_error", "error", message=msg[:500])
