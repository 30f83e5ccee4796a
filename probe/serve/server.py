"""The HTTP server: cheroot, with limits that slow, hostile and silent clients cannot exhaust.

Cheroot gives each connection a worker until the response is written or a timeout passes, so a few silent clients could
occupy all workers. Here a connection gets a worker only after it has sent data, and loses it when the worker waits for
the client while other connections wait. Normal clients never notice. The thread that waits for connections answers the
plain requests of scrapers and kubelets itself.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import time
from typing import Any

from probe.serve import cheroot
from probe.serve.connections import WAITING_LIMIT, WORKERS, Limiter, Tracked
from probe.serve.direct import parse_plain, peek, render_head, send_now
from probe.watch.log import log

HEADER_LIMIT = 16 << 10
"""Maximum bytes of request line and headers; ten times those of a browser."""
BACKLOG = 128
"""Backlog of listen(2): connections that wait for accept(2)."""
_DIRECT_LIMIT = 64 << 10
"""Maximum bytes of a response that may have to wait for a worker to be sent."""
_KEEP_ALIVE = 10  # maximum connections kept open between two requests


class Request(cheroot.HTTPRequest):
    """A request without a body: no resource takes one."""

    def parse_request(self) -> None:
        """Read request line and headers; every exception of cheroot there counts as a bad request."""
        try:
            super().parse_request()
        except OSError:
            raise
        except Exception:
            self.ready = False
            self.simple_response("400 Bad Request", "not understood\n")

    def respond(self) -> None:
        """Call the application; a body is never read."""
        self.server.limiter.move(self.conn, "answering")
        if self.chunked_read or self.inheaders.get(b"Content-Length", b"0") != b"0":
            self.close_connection = True  # else cheroot would read the body to find the next request
            if self.method in (b"GET", b"HEAD"):
                self.simple_response("413 Request Entity Too Large", "no request takes a body here\n")
                return
        super().respond()

    def write(self, chunk: bytes) -> None:
        """Send a part of the response."""
        self.server.limiter.move(self.conn, "sending")
        super().write(chunk)


class Connection(Tracked, cheroot.HTTPConnection):
    """A connection that can be dropped in every phase."""

    RequestHandlerClass = Request
    unsent = b""
    """The rest of a response that a worker has to send."""

    def communicate(self) -> bool:
        """Read one request and answer it; True when the connection stays open."""
        try:
            if self.unsent:
                return self._send_rest()
            if not self.server.limiter.move(self, "reading"):
                return False
            if self.server.ssl_adapter is not None:
                # here, since a client could block the thread that accepts
                self.socket.do_handshake()  # type: ignore[attr-defined]
            return bool(super().communicate()) and not self.dropped  # type: ignore[no-untyped-call]
        except OSError:
            return False  # the client disconnected, or does not speak TLS

    def _send_rest(self) -> bool:
        if not self.server.limiter.move(self, "sending"):
            return False
        rest, self.unsent = self.unsent, b""
        self.socket.sendall(rest)
        return not self.dropped

    def close(self) -> None:
        """Close the connection; an error of an already closed one must not end the worker."""
        self.server.limiter.leave(self)
        try:
            super().close()
        except OSError:
            self.socket.close()
        # cheroot leaves the writer open; since Python 3.13 its finaliser prints a traceback for unsent bytes.
        with contextlib.suppress(OSError, ValueError):
            self.wfile.close()


class Server(cheroot.Server):
    """Cheroot with a Limiter and without a Server header. While idle, none of its threads wakes up."""

    ConnectionClass = Connection
    max_request_header_size = HEADER_LIMIT
    keep_alive_conn_limit = _KEEP_ALIVE
    expiration_interval = 3600  # seconds between checks for expired connections; the Limiter drops them earlier

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
        """Handle a connection that is new or readable."""
        if connection.dropped:
            connection.close()
        elif self.ssl_adapter is None and not connection.rfile.has_data() and self._answer_directly(connection):
            pass
        elif connection.phase == "new":
            self.put_conn(connection)  # no worker before it has sent data
        else:
            self._to_worker(connection)

    def _answer_directly(self, connection: Connection) -> bool:
        """Answer a plain request here, without a wait for anything; False when a worker has to read the request."""
        try:
            content = peek(connection.socket)
            environ = parse_plain(content) if self.can_add_keepalive_connection else None
            if not environ:
                return False
            head: list[bytes] = []
            body = self.wsgi_app(environ, lambda *start: head.append(render_head(start, self.server_name)))
            answer = b"".join((*head, *body))
            if len(answer) > _DIRECT_LIMIT or not self.limiter.move(connection, "answering"):
                return False
            os.read(connection.socket.fileno(), len(content))
            connection.unsent = send_now(connection.socket, answer)
        except (OSError, EOFError):
            connection.close()
            return True
        if connection.unsent:
            self._to_worker(connection)
        else:
            self.put_conn(connection)
        return True

    def put_conn(self, connection: Connection) -> None:
        """Wait until a connection is readable."""
        if self.limiter.move(connection, "idle"):
            super().put_conn(connection)
        else:
            connection.close()

    def wake(self) -> None:
        """Wake the thread that accepts, which has no timeout while idle, by a connection of our own."""
        with contextlib.suppress(OSError, AttributeError), socket.socket(self.socket.family) as own:
            own.settimeout(0.1)
            own.connect(self.socket.getsockname())

    def _to_worker(self, connection: Connection) -> None:
        self.limiter.move(connection, "waiting")
        try:
            self.requests.put(connection)
        except queue.Full:
            connection.close()

    def error_log(self, msg: str = "", level: int = 0, traceback: bool = False) -> None:
        """Log internal errors, at most once a second: clients must not be able to fill the disk."""
        now = time.monotonic()
        if level >= cheroot.ERROR and now - self._last_error > 1:
            self._last_error = now
            log("http_error", "error", message=msg[:500])
