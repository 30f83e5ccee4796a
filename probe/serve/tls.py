"""TLS with a certificate and key that are rotated in their files."""

from __future__ import annotations

import os
import ssl
from typing import Any

from probe.serve import cheroot
from probe.watch.log import log


class RotatingCertificate(cheroot.Adapter):
    """TLS adapter of cheroot: connections after a rotation get the new certificate, existing ones keep theirs."""

    def __init__(self, certificate: str, private_key: str) -> None:
        """*Errors*: OSError, ValueError when the files have no certificate with its key."""
        super().__init__(certificate, private_key)
        self._files = (certificate, private_key)
        self._seen = self._identity()
        self._complained: list[tuple[int, ...]] | None = None
        self.context = _context(*self._files)

    def refresh(self) -> None:
        """Load the files if they changed; unusable ones are logged once and retried at each check."""
        identity = self._identity()
        if identity == self._seen:
            return
        try:
            self.context = _context(*self._files)
        except (OSError, ValueError) as error:
            if identity != self._complained:
                self._complained = identity
                log("certificate_not_usable", "error", file=self._files[0], reason=str(error))
            return
        self._seen, self._complained = identity, None
        log("certificate_reloaded", file=self._files[0])

    def _identity(self) -> list[tuple[int, ...]]:
        """Identity of the files, also behind the symbolic links of a Secret volume."""
        try:
            found = [os.stat(file) for file in self._files]
        except OSError:
            return []
        return [(one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size) for one in found]

    def bind(self, sock: Any) -> Any:
        """The listening socket, unchanged."""
        return sock

    def wrap(self, sock: Any) -> tuple[Any, dict[str, str]]:
        """TLS socket for the connection; the worker does the handshake."""
        try:
            return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {}
        except OSError as error:
            raise cheroot.FatalSSLAlert(*error.args) from error

    def get_environ(self) -> dict[str, str]:
        """Empty: the application uses no TLS variables."""
        return {}

    def makefile(self, sock: Any, mode: str = "r", bufsize: int = -1) -> Any:
        """File object that reads or writes a connection."""
        return cheroot.MakeFile(sock, mode, bufsize)


def _context(certificate: str, private_key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, private_key, password=_no_password)
    return context


def _no_password() -> str:
    raise ValueError("the private key is encrypted")  # else OpenSSL would prompt for its password
