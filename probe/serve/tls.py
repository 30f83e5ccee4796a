"""TLS from two files that somebody else rotates."""

from __future__ import annotations

import os
import ssl
from typing import Any

from probe.serve import cheroot
from probe.watch.log import log


class RotatingCertificate(cheroot.Adapter):
    """What cheroot asks for TLS: connections that come after a rotation get the new certificate, no other notices."""

    def __init__(self, certificate: str, private_key: str) -> None:
        """*Errors*: OSError, ValueError when there is no certificate with its key in these files."""
        super().__init__(certificate, private_key)
        self._files = (certificate, private_key)
        self._seen = self._identity()
        self._complained: list[tuple[int, ...]] | None = None
        self.context = _context(*self._files)

    def refresh(self) -> None:
        """Take the files up if they changed; what cannot be used is logged once and tried again at each look."""
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
        """What changes with the files, also behind the symbolic links of a Secret's volume."""
        try:
            found = [os.stat(file) for file in self._files]
        except OSError:
            return []
        return [(one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size) for one in found]

    def bind(self, sock: Any) -> Any:
        """The listening socket as it is."""
        return sock

    def wrap(self, sock: Any) -> tuple[Any, dict[str, str]]:
        """The connection with TLS, its handshake still to be made, by the worker."""
        try:
            return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {}
        except OSError as error:
            raise cheroot.FatalSSLAlert(*error.args) from error

    def get_environ(self) -> dict[str, str]:
        """Nothing: the application asks for none of it."""
        return {}

    def makefile(self, sock: Any, mode: str = "r", bufsize: int = -1) -> Any:
        """The file that reads or writes a connection."""
        return cheroot.MakeFile(sock, mode, bufsize)


def _context(certificate: str, private_key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, private_key, password=_no_password)
    return context


def _no_password() -> str:
    raise ValueError("the private key is encrypted")  # or OpenSSL would ask for its password on the terminal
