"""Plain requests, as Prometheus, kubelet and curl send them: answered without a worker, and without a wait.

A request is plain when it is for a short resource, has come in one piece, and has no headers but those below, each
once. A worker reads every other request.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from probe.serve.response import Response

_LIMIT = 4096
"""Maximum bytes of a plain request."""
_LINE = re.compile(r"GET (/metrics|/healthz|/readyz) HTTP/1\.1", re.ASCII)
_HEADER = re.compile(r"([A-Za-z-]+): ?([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)", re.ASCII)
_HEADERS = frozenset(
    ("accept", "accept-encoding", "connection", "host", "user-agent", "x-prometheus-scrape-timeout-seconds")
)
_END = b"\r\n\r\n"


class Plain(NamedTuple):
    """A plain request."""

    path: str
    accept: str
    keeps: bool
    """Whether the connection stays open after the response."""


class Answer:
    """The response to one plain request, rendered again only after it has become another one."""

    def __init__(self, respond: Callable[[], Response], keeps: bool) -> None:
        self.respond, self.keeps = respond, keeps
        self._response: Response | None = None
        self._heads: tuple[bytes, bytes] = (b"", b"")

    def parts(self, response: Response, server: str, *, keeps: bool) -> Sequence[bytes]:
        """Status line, headers and body as cheroot writes them."""
        if response is not self._response:
            lines = (f"HTTP/1.1 {response.status_line}", *(f"{name}: {value}" for name, value in response.headers))
            head = "".join(f"{line}\r\n" for line in lines)
            self._heads = f"{head}Connection: close\r\nDate: ".encode("latin-1"), f"{head}Date: ".encode("latin-1")
            self._response = response
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT\r\nServer: ", time.gmtime())
        return self._heads[keeps], f"{date}{server}\r\n\r\n".encode("latin-1"), response.body


def peek(connection: socket.socket) -> bytes | None:
    """The bytes that have come and are still unread, up to a limit; None when none have.

    *Errors*: OSError when the connection is broken; EOFError when the client has closed it.
    """
    try:
        content = connection.recv(_LIMIT, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    if not content:
        raise EOFError
    return content


def parse_plain(content: bytes) -> Plain | None:
    """The plain request in *content*; None when it is not exactly one."""
    if not content.endswith(_END) or content.find(_END) != len(content) - len(_END):
        return None
    line, *fields = content[: -len(_END)].decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for field in fields:
        found = _HEADER.fullmatch(field)
        name = found[1].lower() if found else ""
        if not found or name not in _HEADERS or name in headers:
            return None
        headers[name] = found[2]
    request, wish = _LINE.fullmatch(line), headers.get("connection", "keep-alive")
    if not request or "host" not in headers or wish not in ("keep-alive", "close"):
        return None
    return Plain(request[1], headers.get("accept", ""), wish == "keep-alive")


def send_now(connection: socket.socket, parts: Sequence[bytes]) -> bytes:
    """Send what fits into the buffer of the socket; returns the rest. *Errors*: OSError."""
    try:
        sent = connection.sendmsg(parts, (), socket.MSG_DONTWAIT)
    except BlockingIOError:
        sent = 0
    return b"" if sent == sum(map(len, parts)) else b"".join(parts)[sent:]
