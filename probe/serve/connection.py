"""A connection, and a request that a worker reads: cheroot's, within our limits."""

from __future__ import annotations

import contextlib
from typing import Any

from probe.serve import cheroot
from probe.serve.connections import Tracked


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
    """A connection that can be dropped in every phase. Until a worker gets it, it is its socket, without buffers."""

    RequestHandlerClass = Request
    unsent = b""
    """The rest of a response that a worker has to send."""
    keeps = True
    """Whether the connection stays open after that response."""
    _is_open = False

    def __init__(self, server: Any, accepted: Any) -> None:
        self.server, self.socket = server, accepted

    def open(self) -> None:
        """Make what a worker needs."""
        self.socket.settimeout(self.server.timeout)
        if not self._is_open:
            self._is_open = True
            adapter = self.server.ssl_adapter
            super().__init__(self.server, self.socket, adapter.makefile if adapter else cheroot.MakeFile)
            self.ssl_env: dict[str, str] = {}

    def has_data(self) -> bool:
        """Whether a worker has read a part of the next request."""
        return self._is_open and self.rfile.has_data()

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
        return self.keeps and not self.dropped

    def close(self) -> None:
        """Close the connection; an error of an already closed one must not end the worker."""
        self.server.limiter.leave(self)
        self.server.forget(self)
        if not self._is_open:
            self.socket.close()
            return
        try:
            super().close()
        except OSError:
            self.socket.close()
        # cheroot leaves the writer open; since Python 3.13 its finaliser prints a traceback for unsent bytes.
        with contextlib.suppress(OSError, ValueError):
            self.wfile.close()
