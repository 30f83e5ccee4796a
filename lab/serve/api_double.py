"""A small Kubernetes API server: real HTTP and TLS, with certificates and tokens that rotate, and faults at will."""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

from lab.serve.api_store import Answer, Request, Store, status


class Fault:
    """What goes wrong with one request."""

    def answer(self, server: ApiDouble, request: Request) -> Answer | None:
        """What the store is made to say; None when it is not even asked."""
        return server.store.answer(request)

    def send(self, handler: Handler, answer: Answer | None) -> None:
        if answer:
            handler.send_json(*answer)


class Refuse(Fault):
    """The server refuses, whatever is asked."""

    def __init__(self, code: int, reason: str = "", message: str = "", retry_after: str = "") -> None:
        self.code, self.reason, self.message, self.retry_after = code, reason, message, retry_after

    def answer(self, server: ApiDouble, request: Request) -> Answer | None:
        return self.code, status(self.code, self.reason, self.message)

    def send(self, handler: Handler, answer: Answer | None) -> None:
        assert answer
        handler.send_json(*answer, headers={"Retry-After": self.retry_after} if self.retry_after else {})


class Raw(Fault):
    """These bytes come instead of an answer, and then nothing: the connection is closed."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def answer(self, server: ApiDouble, request: Request) -> Answer | None:
        return None

    def send(self, handler: Handler, answer: Answer | None) -> None:
        handler.close_connection = True
        handler.wfile.write(self.content)


class Reset(Fault):
    """The connection is reset: before the request was heard, or after it was granted."""

    def __init__(self, *, granted: bool) -> None:
        self.granted = granted

    def answer(self, server: ApiDouble, request: Request) -> Answer | None:
        return server.store.answer(request) if self.granted else None

    def send(self, handler: Handler, answer: Answer | None) -> None:
        handler.close_connection = True
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.socket.shutdown(handler.connection, socket.SHUT_RD)
        handler.connection.close()


class Stall(Fault):
    """Nothing comes, as on a half-open connection, until the client gives up."""

    def __init__(self, *, granted: bool = False) -> None:
        self.granted = granted

    def answer(self, server: ApiDouble, request: Request) -> Answer | None:
        return server.store.answer(request) if self.granted else None

    def send(self, handler: Handler, answer: Answer | None) -> None:
        handler.close_connection = True
        handler.wait_until_client_left()


class Drip(Fault):
    """A letter of a header every few milliseconds, for ever: no pause is long enough to be a silence."""

    def answer(self, server: ApiDouble, request: Request) -> Answer | None:
        return None

    def send(self, handler: Handler, answer: Answer | None) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
        with suppress(OSError):
            while not handler.client_left(0.01):
                handler.wfile.write(b"x")


class Flood(Fault):
    """A body without end."""

    def answer(self, server: ApiDouble, request: Request) -> Answer | None:
        return None

    def send(self, handler: Handler, answer: Answer | None) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
        with suppress(OSError):
            while not handler.client_left(0):
                handler.wfile.write(b" " * 65536)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 10  # a client that keeps an idle connection
    server: _Server

    def setup(self) -> None:
        self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        request = Request(self.command, self.path, self.headers.get("Content-Type", ""), token, body)
        double = self.server.double
        with double.lock:
            double.requests.append(request)
            fault = double.faults.popleft() if double.faults else Fault()
            answer = fault.answer(double, request)
            request.status = answer[0] if answer else 0
        fault.send(self, answer)
        if double.store.writes:
            double.wrote.set()

    def send_json(self, code: int, document: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(document).encode()
        self.send_response(code)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def client_left(self, seconds: float) -> bool:
        readable, _, _ = select.select([self.connection], [], [], seconds)
        return bool(readable) or self.server.double.closing.is_set()

    def wait_until_client_left(self) -> None:
        while not self.client_left(0.05):
            pass

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    double: ApiDouble

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        return self.double.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class ApiDouble:
    """An API server on loopback and the files that a Pod finds of it: token, ca.crt, namespace."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store()
        self.requests: list[Request] = []
        self.faults: deque[Fault] = deque()
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.wrote = threading.Event()
        """Set by the first change that was made."""
        self.rotate_ca()
        self.rotate_token("token-1")
        (directory / "namespace").write_text("up")
        self._server: _Server | None = None
        self.port = 0

    def rotate_ca(self, ca: trustme.CA | None = None, *, tell: bool = True) -> None:
        """Serve with a certificate of a new CA; *tell* whether the Pod's ca.crt says so already."""
        authority = ca or trustme.CA()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.tls)
        self.ca_pem = authority.cert_pem.bytes()
        if tell:
            self.tell_ca()

    def tell_ca(self) -> None:
        (self.directory / "ca.crt").write_bytes(self.ca_pem)

    def rotate_token(self, token: str, *, tell: bool = True) -> None:
        """Accept *token* alone from now on; *tell* whether the Pod's file says so already."""
        self.store.tokens = {token}
        if tell:
            (self.directory / "token").write_text(token)

    def start(self, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), Handler)
        self._server.double = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Be gone, as in an outage; `start(port)` brings it back."""
        assert self._server
        self._server.shutdown()
        self._server.server_close()

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.requests)

    def add_node(self, name: str, **metadata: Any) -> dict[str, Any]:
        """A Node as the kubelet leaves it."""
        node: dict[str, Any] = {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "uid": f"uid-of-{name}",
                "resourceVersion": "1",
                "labels": {"kubernetes.io/hostname": name},
                "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
                "managedFields": [],
                **metadata,
            },
            "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}]},
        }
        self.store.nodes[name] = node
        return node


@contextmanager
def running(directory: Path) -> Iterator[ApiDouble]:
    """An API server with the Node k8slab."""
    double = ApiDouble(directory)
    double.add_node("k8slab")
    double.start()
    try:
        yield double
    finally:
        double.closing.set()
        double.stop()
