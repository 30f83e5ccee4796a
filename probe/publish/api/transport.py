"""How an answer of the API server gets here: verified as client-go does, and bounded in time and size."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import httpx2
from lightkube import SingleConfig
from lightkube.config.client_adapter import verify_cluster


def tls_context(config: SingleConfig) -> ssl.SSLContext:
    """The cluster's CA, verified as client-go does.

    Python 3.13 and newer insist by default on extensions that the CA certificates of older kubeadm, of k3s and of
    managed clusters lack; that one flag goes, all other verification stays.
    """
    assert config.user is not None
    context = verify_cluster(config.cluster, config.user, config.abs_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class Guard(httpx2.BaseTransport):
    """Reads each response whole, in *deadline* seconds and up to as many bytes as *limit* says of its request.

    What is handed on is what *judge* makes of status and body.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        deadline: float,
        limit: Callable[[httpx2.Request], int],
        judge: Callable[[int, bytes], bytes],
    ) -> None:
        self._inner = httpx2.HTTPTransport(verify=context)
        self._deadline, self._limit, self._judge = deadline, limit, judge
        self._socket: socket.socket | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The whole response, read."""
        request.headers["Accept-Encoding"] = "identity"
        request.extensions["trace"] = self._note_socket
        hang_up = threading.Timer(self._deadline, self._hang_up)
        hang_up.daemon = True
        hang_up.start()
        try:
            response = self._inner.handle_request(request)
            try:
                body = _read(response, self._limit(request))
            finally:
                response.close()
        finally:
            hang_up.cancel()
        headers = {"Content-Type": "application/json"}
        if "Retry-After" in response.headers:
            headers["Retry-After"] = response.headers["Retry-After"]
        content = self._judge(response.status_code, body)
        return httpx2.Response(response.status_code, headers=headers, content=content, request=request)

    def close(self) -> None:
        """End all connections."""
        self._inner.close()

    def _note_socket(self, event: str, info: dict[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")

    def _hang_up(self) -> None:
        """Wake the thread that waits on the socket; closing it here could hand its number to another connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _read(response: httpx2.Response, limit: int) -> bytes:
    content = bytearray()
    assert isinstance(response.stream, httpx2.SyncByteStream)
    for chunk in response.stream:
        content += chunk
        if len(content) > limit:
            raise httpx2.RemoteProtocolError(f"a response of more than {limit} bytes")
    return bytes(content)
