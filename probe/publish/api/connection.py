"""HTTP/1.1 to the API server by the standard library; exceptions are those of httpx2's own transport.

Since 1.34 an API server sends a page of 500 Pods in a thousand chunks, for which httpx2 takes twice the CPU.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection

import httpx2

PART = 256 << 10
"""Bytes that are read at once."""


class TooLarge(httpx2.RemoteProtocolError):
    """A response has more bytes than its limit."""


class Connection:
    """A connection to one server, made with the first request, and again after either side has closed it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._http: HTTPConnection | None = None

    def exchange(self, request: httpx2.Request, limit: int) -> tuple[HTTPResponse, bytes]:
        """(Response, its body of at most *limit* bytes). *Errors*: httpx2.TransportError."""
        try:
            with _of_httpx2(httpx2.ConnectError, httpx2.ConnectTimeout):
                http = self._connected(request)
            with _of_httpx2(httpx2.WriteError, httpx2.WriteTimeout):
                _send(http, request)
            with _of_httpx2(httpx2.ReadError, httpx2.ReadTimeout):
                response = http.getresponse()
                return response, _read(response, limit)
        except BaseException:
            self.close()
            raise

    def hang_up(self) -> None:
        """Shut the socket down to wake its reader; a close here could let another connection reuse the descriptor."""
        if self._http is not None and isinstance(self._http.sock, socket.socket):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._http.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        if self._http is not None:
            self._http.close()

    def _connected(self, request: httpx2.Request) -> HTTPConnection:
        url, timeout = request.url, request.extensions["timeout"]
        if self._http is None:
            host = url.raw_host.decode()
            if url.scheme == "https":
                self._http = HTTPSConnection(host, url.port, context=self._context)
            else:
                self._http = HTTPConnection(host, url.port)
        http = self._http
        if http.sock is not None and _readable(http.sock):  # an answer before the request: it was closed meanwhile
            http.close()
        if http.sock is None:
            http.timeout = timeout["connect"]
            http.connect()
        http.sock.settimeout(timeout["read"])
        return http


def _send(http: HTTPConnection, request: httpx2.Request) -> None:
    target = request.url.raw_path.decode("ascii")
    try:
        http.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.raw:
            http.putheader(name, value)
    except ValueError as error:
        raise httpx2.LocalProtocolError("a header that HTTP does not allow") from error
    http.endheaders(request.read() or None)


def _read(response: HTTPResponse, limit: int) -> bytes:
    parts, size = [], 0
    while part := response.read(PART):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise TooLarge(f"a response of more than {limit} bytes")
    if response.length:
        raise httpx2.RemoteProtocolError(f"a response that ended {response.length} bytes early")
    return b"".join(parts)


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


@contextlib.contextmanager
def _of_httpx2(network: type[httpx2.NetworkError], timeout: type[httpx2.TimeoutException]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timeout(str(error)) from error
    except OSError as error:
        raise network(str(error)) from error
    except (HTTPException, ValueError) as error:
        raise httpx2.RemoteProtocolError(f"{type(error).__name__}: {error}") from error
