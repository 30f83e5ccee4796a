"""The WSGI application: metrics, page, report, and the health endpoints."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from probe.outputs import exposition
from probe.outputs.documents import render_json
from probe.outputs.metrics import render_metrics
from probe.outputs.page import content_security_policy, render_page
from probe.report import SCHEMA
from probe.serve.heap import trim
from probe.serve.report_file import Current
from probe.watch.log import log

_CHUNK = 64 << 10  # bytes per write to a connection, which copies them

TEXT = "text/plain; charset=utf-8"
_REASONS = {
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

Environ = dict[str, Any]


class Response(Struct, frozen=True):
    """Response to a client."""

    status: int
    content_type: str
    body: bytes


class Rendered:
    """Cache of the last rendered text: one rendering per report, not per request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: tuple[object, ...] = ()
        self._text = b""

    def get(self, of: tuple[object, ...], render: Callable[[], str]) -> bytes:
        """Text of *render*, cached as long as *of* are the same objects."""
        with self._lock:
            if len(of) != len(self._of) or any(new is not old for new, old in zip(of, self._of, strict=True)):
                self._of, self._text = of, render().encode("utf-8", "backslashreplace")
            return self._text


class App:
    """The WSGI application (PEP 3333): GET and HEAD only, no cookies, responses must not be cached or embedded."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._pages, self._documents = Rendered(), Rendered()
        self._plain, self._open = Rendered(), Rendered()
        self._headers = [
            ("Content-Security-Policy", content_security_policy()),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ]
        self._routes: dict[str, Callable[[Environ], Response]] = {
            "/": self._page,
            "/metrics": self._metrics,
            "/report.json": self._report,
            "/healthz": lambda _: Response(200, TEXT, b"ok\n"),
            "/readyz": self._readyz,
        }

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        response = self._answer(environ)
        body = response.body
        headers = [("Content-Type", response.content_type), ("Content-Length", str(len(body))), *self._headers]
        if response.status == 405:
            headers.append(("Allow", "GET, HEAD"))
        start_response(f"{response.status} {_REASONS[response.status]}", headers)
        if environ["REQUEST_METHOD"] == "HEAD":
            return []
        return (body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))

    def _answer(self, environ: Environ) -> Response:
        route = self._routes.get(environ["PATH_INFO"])
        if route is None:
            return Response(404, TEXT, f"not here; there are {' '.join(self._routes)}\n".encode())
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return Response(405, TEXT, b"only GET and HEAD\n")
        try:
            return route(environ)
        except Exception as error:  # the next request may work
            log("request_failed", "error", path=environ["PATH_INFO"], error=f"{type(error).__name__}: {error}"[:500])
            return Response(500, TEXT, b"internal error; the log has more\n")

    def _page(self, _: Environ) -> Response:
        now = self._current.snapshot()
        minutes = None if now.age is None else max(0, int(now.age // 60))

        def render() -> str:
            text = render_page(
                now.effective, last=now.report, note=now.message, minutes=minutes, node_name=self._current.node_name
            )
            trim()
            return text

        page = self._pages.get((now.effective, now.report, now.message, minutes), render)
        return Response(200, "text/html; charset=utf-8", page)

    def _metrics(self, environ: Environ) -> Response:
        of, name = (self._current.snapshot().effective, self._current.publishing), self._current.node_name
        if _accepts_openmetrics(environ.get("HTTP_ACCEPT", "")):
            text = self._open.get(of, lambda: render_metrics(*of, exposition.generate_openmetrics, name))
            return Response(200, exposition.OPENMETRICS, text)
        text = self._plain.get(of, lambda: render_metrics(*of, exposition.generate_text, name))
        return Response(200, exposition.TEXT, text)

    def _report(self, _: Environ) -> Response:
        now = self._current.snapshot()
        if now.effective:
            document = self._documents.get((now.effective,), lambda: render_json(now.effective))
            return Response(200, "application/json", document)
        nothing = {"schema": SCHEMA, "verdict": "unknown", "message": now.message}
        return Response(503, "application/json", f"{json.dumps(nothing, indent=2)}\n".encode())

    def _readyz(self, _: Environ) -> Response:
        if self._current.ever_valid:
            return Response(200, TEXT, b"ok\n")
        return Response(503, TEXT, f"not ready: {self._current.snapshot().message}\n".encode())


def _accepts_openmetrics(accept: str) -> bool:
    """True when Accept (RFC 9110, 12.5.1) lists OpenMetrics with a weight above 0."""
    for each in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in each.split(";"))
        if kind == "application/openmetrics-text":
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False
