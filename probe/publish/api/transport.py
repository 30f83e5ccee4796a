"""HTTP transport to the API server: verified as by client-go, with limits on time and size."""

from __future__ import annotations

import ssl
import threading
import zlib
from collections.abc import Callable

import httpx2
from lightkube import SingleConfig
from lightkube.config.client_adapter import verify_cluster

from probe.publish.api.connection import Connection, TooLarge


def tls_context(config: SingleConfig) -> ssl.SSLContext:
    """TLS context that trusts the cluster's CA, with the verification of client-go.

    Python 3.13 and newer require extensions by default that CA certificates of older kubeadm, k3s and managed clusters
    lack; only that flag (VERIFY_X509_STRICT) is cleared. Older ones trust no intermediate CA in ca.crt without its root
    (VERIFY_X509_PARTIAL_CHAIN).
    """
    assert config.user is not None
    context = verify_cluster(config.cluster, config.user, config.abs_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
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
        self._connection = Connection(context)
        self._deadline, self._limit, self._judge = deadline, limit, judge

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send *request*; returns the response, read to its end."""
        request.headers["Accept-Encoding"] = "identity"
        hang_up = threading.Timer(self._deadline, self._connection.hang_up)
        hang_up.daemon = True
        hang_up.start()
        try:
            response, body = self._connection.exchange(request, self._limit(request))
        finally:
            hang_up.cancel()
        if (encoding := response.getheader("Content-Encoding") or "identity").lower() != "identity":
            body = _unpacked(encoding, body, self._limit(request))
        headers = {name: value for name in ("Retry-After", "Date") if (value := response.getheader(name)) is not None}
        headers["Content-Type"] = "application/json"
        content = self._judge(response.status, body)
        return httpx2.Response(response.status, headers=headers, content=content, request=request)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _unpacked(encoding: str, body: bytes, limit: int) -> bytes:
    """At most *limit* bytes of *body*, which something on the way has compressed although nobody asked for that."""
    if encoding.lower() != "gzip":
        raise httpx2.RemoteProtocolError(f"a response in the encoding {encoding[:40]!r}, which was not asked for")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise httpx2.RemoteProtocolError(f"a response that is no gzip: {error}") from error
    if len(plain) > limit:
        raise TooLarge(f"a response of more than {limit} bytes")
    if not unpacker.eof:
        raise httpx2.RemoteProtocolError("a compressed response that ends early")
    return plain
