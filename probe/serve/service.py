"""Main loop of `serve`: listen, keep report and certificate current, end on SIGTERM."""

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
from probe.serve.report_file import Change, Current, read_boot_id
from probe.serve.server import Server
from probe.watch.heap import trim
from probe.watch.log import log

if TYPE_CHECKING:
    from probe.serve.tls import RotatingCertificate

REFRESH = 1.0
"""Seconds between two checks of report file and certificate without inotify(7)."""
LOOK = 330.0
"""Seconds between two checks with inotify(7), in case that a file system reports no change; a check is an lstat(2).

`watch` renews the report a little more often, so that it wakes a thread that would otherwise check by itself.
"""
_DRAIN = 0.5  # seconds for running requests after SIGTERM
_END = 0.9  # seconds after SIGTERM at which the process ends, even with open connections
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Publisher(Protocol):
    """Writes `Current.snapshot` to the Node from a thread of its own, and sets `Current.publishing`."""

    def start(self) -> None:
        """Start the thread."""

    def wake(self) -> None:
        """Run the next step now: the report may have changed or expired."""

    def stop(self, timeout: float) -> None:
        """Stop the thread, waiting *timeout* seconds at most."""


class StartError(Exception):
    """`serve` cannot start with its options; the text is one sentence for the user."""


def run(options: Options, make_publisher: Callable[[Current, str], Publisher] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0. *Errors*: StartError.

    *make_publisher* gets the state of the report file and the ID of the running boot.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # before the first thread: all inherit the mask
    boot_id = read_boot_id()
    current = Current(options.report_file, boot_id=boot_id, node_name=options.node_name)
    publisher = make_publisher(current, boot_id) if make_publisher else None
    certificate = _certificate(options)
    server = _listen(options.listen, App(current), certificate)
    looked = threading.Event()
    changes = Changes(_directories(options), REFRESH)
    _in_background(_refresh, current, certificate, looked, changes, publisher)
    looked.wait(REFRESH)  # so that the first scrape sees the report, unless its file system hangs
    if publisher:
        publisher.start()
    _in_background(server.serve)
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
    """Server that is bound and listens."""
    os.environ.pop("LISTEN_PID", None)  # else cheroot would take over descriptor 3
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
    """Wildcard address: `::` for both families if the kernel has IPv6, else `0.0.0.0`."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return "0.0.0.0"  # noqa: S104 - to be scraped from other machines is what it is for
    return "::"


def _directories(options: Options) -> set[str]:
    """Directories of the report file and the certificate, to watch for changes."""
    files = (options.report_file, options.certificate, options.private_key)
    return {os.path.dirname(os.path.abspath(file)) for file in files if file}


def _refresh(
    current: Current,
    certificate: RotatingCertificate | None,
    looked: threading.Event,
    changes: Changes,
    publisher: Publisher | None,
) -> None:
    """Keep report and certificate current, for ever; the expiry of the report counts as a change."""
    while True:
        change: Change = "another"
        try:
            change = current.refresh()
            if change:
                trim()  # what the last report, its publication and its page left
            if certificate:
                certificate.refresh()
        except Exception as error:  # the last report stays, and its age tells
            log("refresh_failed", "error", error=f"{type(error).__name__}: {error}"[:500])
        looked.set()
        if publisher and change == "another":
            publisher.wake()
        changes.wait(min(LOOK, current.expires_in()))


def _in_background(function: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True, name=function.__name__.strip("_"))
    thread.start()
    return thread


def _end(server: Server, publisher: Publisher | None) -> None:
    """Finish running requests, then end, even if a thread hangs."""
    began = time.monotonic()
    stopping = _in_background(server.stop)
    _in_background(_wake, server, stopping)
    if publisher:
        publisher.stop(_DRAIN)
    while (server.is_serving or not server.limiter.is_empty()) and time.monotonic() < began + _DRAIN:
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
