"""Requests by the ssl module alone: in a new process a third, or less, of the CPU that the client takes."""

from __future__ import annotations

import os
import socket
import ssl
import time

RESPONSE_LIMIT = 4 << 20
"""Maximum bytes of a response; etcd stores objects up to 1.5 MiB, and decoded ones take many times the memory."""

_OK, _REFUSED_TOKEN = 200, 401  # after the second, the client looks for another token


class NotPlain(Exception):
    """No credentials, or a response that is not short and complete: the client says what is wrong with it."""


class Refused(Exception):
    """The server refused a request; *wait* is what Retry-After says."""

    def __init__(self, status: int, wait: str, body: bytes) -> None:
        super().__init__(status)
        self.status, self.wait, self.body = status, wait, body


def read(path: str, service_account: str, silence: float, deadline: float) -> bytes:
    """Body of the response to GET *path*; *deadline*, in seconds from now, is for the whole request.

    *Errors*: NotPlain, also for a refusal; OSError when the server does not answer, or has no certificate of the
    cluster.
    """
    try:
        return body_of(_exchange(f"GET {path}", "", b"", service_account, silence, deadline))
    except Refused as refusal:
        raise NotPlain from refusal


def apply(path: str, content: bytes, service_account: str, silence: float, deadline: float) -> bytes:
    """Body of the response to a server-side apply of *content*, as JSON, to *path*.

    *Errors*: as of `read`, and Refused. After a request that may have been granted, the client asks again: an apply
    that is repeated changes nothing.
    """
    kind = f"Content-Type: application/apply-patch+yaml\r\nContent-Length: {len(content)}\r\n"
    return body_of(_exchange(f"PATCH {path}", kind, content, service_account, silence, deadline))


def _exchange(line: str, headers: str, content: bytes, service_account: str, silence: float, deadline: float) -> bytes:
    """The response to a request with *content*, as it comes.

    It asks by HTTP/1.0, so that the server sends no chunks and closes the connection at the end.
    """
    ends = time.monotonic() + deadline
    host, port, context, token = _credentials(service_account)
    address = f"[{host}]" if ":" in host else host
    request = (
        f"{line} HTTP/1.0\r\nHost: {address}:{port}\r\nAuthorization: Bearer {token}\r\n{headers}"
        "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: userns-probe\r\n\r\n"
    )
    response = bytearray()
    with (
        socket.create_connection((host, port), silence) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(request.encode("ascii") + content)
        while part := connection.recv(1 << 16):
            response += part
            if len(response) > RESPONSE_LIMIT:
                raise NotPlain
            if time.monotonic() > ends:
                raise TimeoutError(f"no answer within {deadline:g} s")
    return bytes(response)


def _credentials(service_account: str) -> tuple[str, int, ssl.SSLContext, str]:
    try:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
        context = ssl.create_default_context(cafile=f"{service_account}/ca.crt")
        with open(f"{service_account}/token", encoding="ascii") as file:
            token = file.read().strip()
    except (LookupError, ValueError, OSError) as error:
        raise NotPlain from error
    if not token.isprintable() or " " in token:
        raise NotPlain
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # both as `transport.tls_context`, which says why
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return host, port, context, token


def body_of(content: bytes) -> bytes:
    """Body of an HTTP response that is complete, and grants. *Errors*: NotPlain; Refused."""
    head, end, body = content.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    version, _, code = status[:12].partition(b" ")
    if not end or version not in (b"HTTP/1.0", b"HTTP/1.1") or not code.isdigit():
        raise NotPlain
    if b"transfer-encoding" in headers or headers.get(b"content-encoding", b"identity") != b"identity":
        raise NotPlain
    if headers.get(b"content-length", b"%d" % len(body)) != b"%d" % len(body):
        raise NotPlain
    if 400 <= int(code) < 600 and int(code) != _REFUSED_TOKEN:
        raise Refused(int(code), headers.get(b"retry-after", b"").decode("latin-1"), body)
    if int(code) != _OK:
        raise NotPlain
    return body
