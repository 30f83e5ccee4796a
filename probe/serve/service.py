"""The life of `serve`: listen, keep the report and the certificate current, end on SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from probe.serve.app import App
from probe.serve.changes import Changes
from probe.serve.options import Options, parse_listen
from probe.serve.report_file import Current, read_boot_id
from probe.serve.server import Server
from probe.watch.log import log

if TYPE_CHECKING:
    from probe.serve.tls import RotatingCertificate

REFRESH = 1.0
"""Seconds between two looks at the report file and the certificate where inotify(7) cannot tell of changes."""
LOOK = 60.0
"""Seconds between two looks where it can; a look is an lstat(2)."""
_DRAIN = 0.5  # seconds that requests under way may take after SIGTERM
_END = 0.9  # seconds after SIGTERM at which the process ends, whoever still hangs on
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Publisher(Protocol):
    """Writes what `Current.snapshot` gives to the Node, from a thread of its own, and tells in `Current.publishing`."""

    def start(self) -> None:
        """Begin."""

    def wake(self) -> None:
        """There may be another report, or the last one expired."""

    def stop(self, timeout: float) -> None:
        """End, waiting *timeout* seconds at most."""


class StartError(Exception):
    """`serve` cannot be started as it was asked to be: one sentence for its user."""


def run(options: Options, make_publisher: Callable[[Current, str], Publisher] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0. *Errors*: StartError.

    *make_publisher* gets what holds now and the id of the running boot.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # before there are threads: each inherits it
    boot_id = read_boot_id()
    current = Current(options.report_file, boot_id=boot_id, node_name=options.node_name)
    publisher = make_publisher(current, boot_id) if make_publisher else None
    certificate = _certificate(options)
    server = _listen(options.listen, App(current), certificate)
    looked = threading.Event()
    changes = Changes(_directories(options), REFRESH)
    _in_background(_refresh, current, certificate, looked, changes, publisher)
    looked.wait(REFRESH)  # so that the first scrape sees what is there, unless its file system hangs
    if publisher:
        publisher.start()
    _in_background(server.serve)
    _in_background(server.limiter.run)
    signal.sigwait(_SIGNALS)
    _end(server, publisher)
    return 0


def _certificate(options: Options) -> RotatingCertificate | None:
    if not (options.certificate and options.private_key):
        return None
    from probe.serve.tls import RotatingCertificate  # and with it OpenSSL

    try:
        return RotatingCertificate(options.certificate, options.private_key)
    except (OSError, ValueError) as error:
        files = f"{options.certificate} and {options.private_key}"
        raise StartError(f"no certificate with its private key in {files}: {error}") from error


def _listen(listen: str, app: App, certificate: RotatingCertificate | None) -> Server:
    """A server that is bound and listens."""
    os.environ.pop("LISTEN_PID", None)  # or cheroot would take over whatever the third descriptor is
    host, port = parse_listen(listen)
    server = Server((host or _everywhere(), port), app, certificate)
    try:
        server.prepare()
    except OSError as error:
        reason = (re.findall(r"\[Errno -?\d+\] ([^()]+)", str(error)) or [str(error)])[-1]
        raise StartError(f"cannot listen on {listen}: {reason}") from error
    host, port = server.bind_addr
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    log("listening", address=shown, tls=certificate is not None)
    return server


def _everywhere() -> str:
    """All addresses of the machine, of both families where the kernel has both."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return "0.0.0.0"  # noqa: S104 - to be scraped from other machines is what it is for
    return "::"


def _directories(options: Options) -> set[str]:
    """The directories in which a change may concern us."""
    files = (options.report_file, options.certificate, options.private_key)
    return {os.path.dirname(os.path.abspath(file)) for file in files if file}


def _refresh(
    current: Current,
    certificate: RotatingCertificate | None,
    looked: threading.Event,
    changes: Changes,
    publisher: Publisher | None,
) -> None:
    """Keep report and certificate current, for ever; the report's expiry is a change, too."""
    while True:
        try:
            current.refresh()
            if certificate:
                certificate.refresh()
        except Exception as error:  # the last report stays, and its age shows
            log("refresh_failed", "error", error=f"{type(error).__name__}: {error}"[:500])
        looked.set()
        if publisher:
            publisher.wake()
        changes.wait(min(LOOK, current.expires_in()))


def _in_background(function: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True, name=function.__name__.strip("_"))
    thread.start()
    return thread


def _end(server: Server, publisher: Publisher | None) -> None:
    """Let requests under way be answered, then end, even if a thread cannot."""
    began = time.monotonic()
    stopping = _in_background(server.stop)
    _in_background(_wake, server, stopping)
    if publisher:
        publisher.stop(_DRAIN)
    while not server.limiter.is_empty() and time.monotonic() < began + _DRAIN:
        time.sleep(0.01)
    server.limiter.drop_all()
    stopping.join(max(0, began + _END - time.monotonic()))
    log("stopped")
    if stopping.is_alive():
        os._exit(0)


def _wake(server: Server, stopping: threading.Thread) -> None:
    while stopping.is_alive():
        server.wake()
        stopping.join(0.05)
