"""The HTTP server: cheroot, with limits that slow, hostile and silent clients cannot exhaust.

Cheroot gives each connection a worker until the response is written or a timeout passes, so a few silent clients could
occupy all workers. Here a connection gets a worker only after it has sent data, and loses it when the worker waits for
the client while other connections wait. Normal clients never notice. The thread that waits for connections answers the
plain requests of scrapers and kubelets itself.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol

from probe.serve import cheroot
from probe.serve.connection import Connection
from probe.serve.connections import WAITING_LIMIT, WORKERS, Limiter
from probe.serve.direct import Answer, parse_plain, peek, send_now
from probe.serve.response import Response
from probe.serve.selector import Selector
from probe.watch.log import log

HEADER_LIMIT = 16 << 10
"""Maximum bytes of request line and headers; ten times those of a browser."""
BACKLOG = 128
"""Backlog of listen(2): connections that wait for accept(2)."""
_DIRECT_LIMIT = 64 << 10
"""Maximum bytes of a body that may have to wait for a worker to be sent."""
_KEEP_ALIVE = 10  # maximum connections kept open between two requests
_KNOWN = 8  # maximum different plain requests that are recognised by their bytes


class Application(Protocol):
    """What the server calls."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""

    def route(self, path: str, accept: str) -> Callable[[], Response]:
        """The function that answers GET *path* with that Accept header."""


class Server(cheroot.Server):
    """Cheroot with a Limiter and without a Server header. While idle, none of its threads wakes up."""

    max_request_header_size = HEADER_LIMIT
    keep_alive_conn_limit = _KEEP_ALIVE

    def __init__(self, address: tuple[str, int], application: Application, adapter: Any = None) -> None:
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
        self._connections: Any = None
        self.limiter = Limiter()
        self.ssl_adapter = adapter
        self._answers: dict[bytes, Answer] = {}
        self._last_error = 0.0

    def prepare(self) -> None:
        """Bind, listen, and start the workers."""
        super().prepare()
        self._connections.close()
        self._connections = Selector(self, self.socket)

    @property
    def is_serving(self) -> bool:
        """True while `serve` may be answering a request."""
        return bool(self._connections.is_serving)

    def connect(self, accepted: socket.socket) -> Connection | None:
        """The connection behind an *accepted* socket; None if it cannot be one by TLS."""
        if self.ssl_adapter is None:
            return Connection(self, accepted)
        try:
            return Connection(self, self.ssl_adapter.wrap(accepted)[0])
        except cheroot.FatalSSLAlert:
            accepted.close()
            return None

    def process_conn(self, connection: Connection) -> None:
        """Handle a connection that is new or readable."""
        try:
            content = self._look(connection)
            if content is None:
                self._wait(connection, "idle")
            elif not (content and self._answer(connection, content)):
                self._to_worker(connection)
        except (OSError, EOFError):
            connection.close()
        except Exception:
            connection.close()  # it would be processed again at once
            raise

    def _look(self, connection: Connection) -> bytes | None:
        """What has come on *connection*; empty when only a worker can read it, None when nothing has come.

        *Errors*: OSError, EOFError when it is to be closed.
        """
        if connection.dropped:
            raise EOFError
        if self.ssl_adapter is not None:
            return None if connection.phase == "new" else b""
        return peek(connection.socket)

    def _answer(self, connection: Connection, content: bytes) -> bool:
        """Answer a plain request here, without a wait for anything; False when a worker has to read the request.

        *Errors*: OSError when the client is gone.
        """
        answer = self._answers.get(content) or self._learn(content)
        if answer is None:
            return False
        response, keeps = answer.respond(), answer.keeps and self.can_add_keepalive_connection
        parts = answer.parts(response, self.server_name, keeps=keeps)
        if len(response.body) > _DIRECT_LIMIT:
            return False
        connection.socket.recv(len(content))
        connection.unsent = send_now(connection.socket, parts)
        connection.keeps = keeps
        if connection.unsent:
            self._to_worker(connection)
        elif keeps:
            self._wait(connection, "kept")
        else:
            connection.close()
        return True

    def _learn(self, content: bytes) -> Answer | None:
        """The answer to a plain request, kept, since scrapers and kubelets send the same bytes each time."""
        plain = parse_plain(content)
        if plain is None:
            return None
        if len(self._answers) >= _KNOWN:
            self._answers.clear()
        answer = self._answers[content] = Answer(self.wsgi_app.route(plain.path, plain.accept), plain.keeps)
        return answer

    def put_conn(self, connection: Connection) -> None:
        """Take a connection back from a worker."""
        if connection.has_data():
            self._to_worker(connection)
            return
        if self.ssl_adapter is None:
            connection.socket.settimeout(None)  # with one, Python would wait for the client despite MSG_DONTWAIT
        self._wait(connection, "idle")

    def _wait(self, connection: Connection, phase: Literal["idle", "kept"]) -> None:
        """Wait until a connection is readable."""
        if self.ready and self.limiter.move(connection, phase):
            self._connections.put(connection)
        else:
            connection.close()

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is to be closed."""
        self._connections.forget(connection)

    def wake(self) -> None:
        """Wake the thread that accepts, which has no timeout while idle, by a connection of our own."""
        with contextlib.suppress(OSError, AttributeError), socket.socket(self.socket.family) as own:
            own.settimeout(0.1)
            own.connect(self.socket.getsockname())

    def _to_worker(self, connection: Connection) -> None:
        self._connections.take(connection)
        connection.open()
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
