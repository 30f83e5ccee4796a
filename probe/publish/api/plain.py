"""A read of one object by the ssl module alone: a fifth of the CPU that the client takes in a new process."""

from __future__ import annotations

import os
import socket
import ssl
import time

RESPONSE_LIMIT = 4 << 20
"""Maximum bytes of a response; etcd stores objects up to 1.5 MiB, and decoded ones take many times the memory."""


class NotPlain(Exception):
    """No credentials, or a response that is not a short 200: the client says what is wrong with it."""


def read(path: str, service_account: str, silence: float, deadline: float) -> bytes:
    """Body of the response to GET *path*; *deadline*, in seconds from now, is for the whole request.

    It asks by HTTP/1.0, so that the server sends no chunks and closes the connection at the end. *Errors*: NotPlain;
    OSError when the server does not answer, or has no certificate of the cluster.
    """
    ends = time.monotonic() + deadline
    host, port, context, token = _credentials(service_account)
    address = f"[{host}]" if ":" in host else host
    request = (
        f"GET {path} HTTP/1.0\r\nHost: {address}:{port}\r\nAuthorization: Bearer {token}\r\n"
        "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: userns-probe\r\n\r\n"
    )
    content = bytearray()
    with (
        socket.create_connection((host, port), silence) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(request.encode("ascii"))
        while part := connection.recv(1 << 16):
            content += part
            if len(content) > RESPONSE_LIMIT:
                raise NotPlain
            if time.monotonic() > ends:
                raise TimeoutError(f"no answer within {deadline:g} s")
    return body_of(bytes(content))


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
    """Body of an HTTP response that is complete. *Errors*: NotPlain."""
    head, end, body = content.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if not end or not status.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200")):
        raise NotPlain
    if b"transfer-encoding" in headers or headers.get(b"content-encoding", b"identity") != b"identity":
        raise NotPlain
    if headers.get(b"content-length", b"%d" % len(body)) != b"%d" % len(body):
        raise NotPlain
    return body
