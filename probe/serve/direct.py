"""Plain requests, as Prometheus, kubelet and curl send them: answered without a worker, and without a wait.

A request is plain when it is for a short resource, has come in one piece, and has no headers but those below, each
once. A worker reads every other request.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable
from email.utils import formatdate

_LIMIT = 4096
"""Maximum bytes of a plain request."""
_LINE = re.compile(r"GET (/metrics|/healthz|/readyz) HTTP/1\.1", re.ASCII)
_HEADER = re.compile(r"([A-Za-z-]+): ?([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)", re.ASCII)
_HEADERS = frozenset(
    ("accept", "accept-encoding", "connection", "host", "user-agent", "x-prometheus-scrape-timeout-seconds")
)
_END = b"\r\n\r\n"

Environ = dict[str, str]


def peek(connection: socket.socket) -> bytes:
    """The bytes that have come and are still unread, up to a limit; empty when none have.

    *Errors*: OSError when the connection is broken; EOFError when the client has closed it.
    """
    timeout = connection.gettimeout()
    connection.setblocking(False)  # with a timeout, recv would wait for the first byte
    try:
        content = connection.recv(_LIMIT, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
    finally:
        connection.settimeout(timeout)
    if not content:
        raise EOFError
    return content


def parse_plain(content: bytes) -> Environ | None:
    """The plain request in *content*, as the application takes it; None when it is not exactly one."""
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
    request = _LINE.fullmatch(line)
    if not request or "host" not in headers or headers.get("connection", "keep-alive") != "keep-alive":
        return None
    return {"REQUEST_METHOD": "GET", "PATH_INFO": request[1], "HTTP_ACCEPT": headers.get("accept", "")}


def render_head(start: tuple[str, Iterable[tuple[str, str]]], server: str) -> bytes:
    """Status line and headers as cheroot writes them for a connection that stays open.

    *start*: status and headers, as of start_response of PEP 3333.
    """
    status, headers = start
    fields = (*headers, ("Date", formatdate(usegmt=True)), ("Server", server))
    lines = (f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields))
    return "\r\n".join((*lines, "\r\n")).encode("latin-1")


def send_now(connection: socket.socket, content: bytes) -> bytes:
    """Send what fits into the buffer of the socket; returns the rest. *Errors*: OSError.

    The descriptor of a socket with a timeout is non-blocking; socket.send would wait.
    """
    try:
        return content[os.write(connection.fileno(), content) :]
    except BlockingIOError:
        return content
