"""HTTP transport to the API server: verified as by client-go, with limits on time and size."""

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


class TooLarge(httpx2.RemoteProtocolError):
    """A response has more bytes than its limit."""


def tls_context(config: SingleConfig) -> ssl.SSLContext:
    """TLS context that trusts the cluster's CA, with the verification of client-go.

    Python 3.13 and newer require extensions by default that CA certificates of older kubeadm, k3s and managed clusters
    lack; only that flag (VERIFY_X509_STRICT) is cleared.
    """
    assert config.user is not None
    context = verify_cluster(config.cluster, config.user, config.abs_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class Guard(httpx2.BaseTransport):
    """Reads each response whole, within *deadline* seconds and *limit*(request) bytes.

    *judge* turns status and body into the body that is returned.
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
        """Send *request*; returns the response, read to its end."""
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
        headers = {name: response.headers[name] for name in ("Retry-After", "Date") if name in response.headers}
        headers["Content-Type"] = "application/json"
        content = self._judge(response.status_code, body)
        return httpx2.Response(response.status_code, headers=headers, content=content, request=request)

    def close(self) -> None:
        """Close all connections."""
        self._inner.close()

    def _note_socket(self, event: str, info: dict[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")

    def _hang_up(self) -> None:
        """Shut the socket down to wake its reader; a close here could let another connection reuse the descriptor."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _read(response: httpx2.Response, limit: int) -> bytes:
    content = bytearray()
    assert isinstance(response.stream, httpx2.SyncByteStream)
    for chunk in response.stream:
        content += chunk
        if len(content) > limit:
            raise TooLarge(f"a response of more than {limit} bytes")
    return bytes(content)
