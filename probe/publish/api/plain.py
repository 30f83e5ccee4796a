"""A read of one object by the modules of C below `ssl` and `socket`: 14 ms of CPU in a new process.

The import of `ssl` alone takes 20 ms more, most of them to make enumerations of constants; the client takes 200.
"""

from __future__ import annotations

import _socket
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESPONSE_LIMIT = 4 << 20
"""Maximum bytes of a response; etcd stores objects up to 1.5 MiB, and decoded ones take many times the memory."""


class NotPlain(Exception):
    """No credentials, a Python without these modules, or no short 200: the client tells what is wrong."""


class _Socket(_socket.socket):
    """A socket that OpenSSL's wrapper can refer to without keeping it alive."""

    __slots__ = ("__weakref__",)


def read(path: str, service_account: str, silence: float, deadline: float) -> bytes:
    """Body of the response to GET *path*; *deadline*, in seconds from now, is for the whole request.

    It asks by HTTP/1.0, so that the server sends no chunks and closes the connection at the end. *Errors*: NotPlain;
    OSError when the server does not answer, or has no certificate of the cluster.
    """
    ends = time.monotonic() + deadline
    host, port, token = _credentials(service_account)
    context = _context(f"{service_account}/ca.crt")
    address = f"[{host}]" if ":" in host else host
    request = (
        f"GET {path} HTTP/1.0\r\nHost: {address}:{port}\r\nAuthorization: Bearer {token}\r\n"
        "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: userns-probe\r\n\r\n"
    )
    plain = _connected(host, port, silence)
    try:
        return body_of(_exchange(_encrypted(context, plain, host), request.encode("ascii"), ends))
    finally:
        plain.close()


def _credentials(service_account: str) -> tuple[str, int, str]:
    try:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
        with open(f"{service_account}/token", "rb") as file:
            token = file.read().decode("ascii").strip()
    except (LookupError, ValueError, OSError) as error:
        raise NotPlain from error
    if not token.isprintable() or " " in token:
        raise NotPlain
    return host, port, token


def _context(authority: str) -> Any:
    """What `ssl.create_default_context` makes, with the flags of `transport.tls_context`. *Errors*: NotPlain."""
    try:
        import _ssl

        context = _ssl._SSLContext(_ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority, None, None)
        context.verify_flags |= _ssl.VERIFY_X509_PARTIAL_CHAIN
        verified = context.check_hostname and context.verify_mode == _ssl.CERT_REQUIRED
    except (ImportError, AttributeError, TypeError, OSError) as error:
        raise NotPlain from error
    if not verified:
        raise NotPlain
    return context


def _connected(host: str, port: int, silence: float) -> _Socket:
    """A connection to the first address of *host* that accepts one. *Errors*: OSError; ValueError for no name."""
    refused = OSError(f"{host} has no address")
    name = host.encode("ascii")  # a str would be encoded by `encodings.idna`, which imports 10 ms of modules
    for family, kind, protocol, _, address in _socket.getaddrinfo(name, port, 0, _socket.SOCK_STREAM):
        connection = _Socket(family, kind, protocol)
        try:
            connection.settimeout(silence)
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            refused = error
    raise refused


def _encrypted(context: Any, plain: _Socket, host: str) -> Any:
    """*plain* after a handshake with a server whose certificate names *host*. *Errors*: NotPlain, OSError."""
    try:
        connection = context._wrap_socket(plain, False, host, owner=None, session=None)
    except (AttributeError, TypeError) as error:
        raise NotPlain from error
    connection.do_handshake()
    return connection


def _exchange(connection: Any, request: bytes, ends: float) -> bytes:
    """The bytes that come after *request* until the server closes the connection, without the word of TLS if need be.

    *Errors*: NotPlain; OSError, also after *ends* (time.monotonic()).
    """
    from _ssl import SSLEOFError

    while request:
        request = request[connection.write(request) :]
    content = bytearray()
    while True:
        try:
            part = connection.read(1 << 16)
        except SSLEOFError:
            break
        if not part:
            break
        content += part
        if len(content) > RESPONSE_LIMIT:
            raise NotPlain
        if time.monotonic() > ends:
            raise TimeoutError("no answer in time")
    return bytes(content)


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
