"""The WSGI application: metrics, page, report, and the health endpoints."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

from probe.outputs import exposition
from probe.outputs.documents import render_json
from probe.outputs.metrics import MetricsText
from probe.outputs.page import content_security_policy, render_page
from probe.report import SCHEMA
from probe.serve.report_file import Current
from probe.serve.response import Response
from probe.watch.heap import trim
from probe.watch.log import log

_CHUNK = 64 << 10  # bytes per write to a connection, which copies them

TEXT = "text/plain; charset=utf-8"
_HEADERS = (
    ("Content-Security-Policy", content_security_policy()),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)

Environ = dict[str, Any]
Route = Callable[[], Response]


class Rendered:
    """Cache of the last response: one rendering per report, not per request."""

    def __init__(self, content_type: str) -> None:
        self._content_type = content_type
        self._lock = threading.Lock()
        self._of: tuple[object, ...] = ()
        self._response = response(200, content_type, b"")

    def get(self, of: tuple[object, ...], render: Callable[[], str]) -> Response:
        """Response with the text of *render*, cached as long as *of* are the same objects."""
        with self._lock:
            if len(of) != len(self._of) or any(new is not old for new, old in zip(of, self._of, strict=True)):
                body = render().encode("utf-8", "backslashreplace")
                self._of, self._response = of, response(200, self._content_type, body)
            return self._response


class Metrics:
    """The metrics in one of their formats."""

    def __init__(self, current: Current, text: MetricsText, content_type: str) -> None:
        self._current, self._text = current, text
        self._rendered = Rendered(content_type)

    def __call__(self) -> Response:
        """The metrics of now; the same object while they are the same."""
        of = self._current.effective(), self._current.publishing
        return self._rendered.get(of, lambda: self._text.of(*of))


class App:
    """The WSGI application (PEP 3333): GET and HEAD only, no cookies, responses must not be cached or embedded."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._pages, self._documents = Rendered("text/html; charset=utf-8"), Rendered("application/json")
        text, openmetrics = (
            MetricsText(generate, current.node_name)
            for generate in (exposition.generate_text, exposition.generate_openmetrics)
        )
        self._plain = Metrics(current, text, exposition.TEXT)
        self._open = Metrics(current, openmetrics, exposition.OPENMETRICS)
        self._ok = response(200, TEXT, b"ok\n")
        self._routes: dict[str, Route] = {
            "/": self._page,
            "/metrics": self._plain,
            "/report.json": self._report,
            "/healthz": lambda: self._ok,
            "/readyz": self._readyz,
        }

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        answer = self._answer(environ)
        body = answer.body
        start_response(answer.status_line, list(answer.headers))
        if environ["REQUEST_METHOD"] == "HEAD":
            return []
        return (body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))

    def route(self, path: str, accept: str) -> Route:
        """The function that answers GET *path* with that Accept header; it raises nothing."""
        route = self._open if path == "/metrics" and _accepts_openmetrics(accept) else self._routes.get(path)
        if route is None:
            return lambda: response(404, TEXT, f"not here; there are {' '.join(self._routes)}\n".encode())

        def guarded() -> Response:
            try:
                return route()
            except Exception as error:  # the next request may work
                log("request_failed", "error", path=path, error=f"{type(error).__name__}: {error}"[:500])
                return response(500, TEXT, b"internal error; the log has more\n")

        return guarded

    def _answer(self, environ: Environ) -> Response:
        path = environ["PATH_INFO"]
        if path in self._routes and environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return response(405, TEXT, b"only GET and HEAD\n", ("Allow", "GET, HEAD"))
        return self.route(path, environ.get("HTTP_ACCEPT", ""))()

    def _page(self) -> Response:
        now = self._current.snapshot()
        minutes = None if now.age is None else max(0, int(now.age // 60))

        def render() -> str:
            text = render_page(
                now.effective, last=now.report, note=now.message, minutes=minutes, node_name=self._current.node_name
            )
            trim()
            return text

        return self._pages.get((now.effective, now.report, now.message, minutes), render)

    def _report(self) -> Response:
        now = self._current.snapshot()
        if now.effective:
            return self._documents.get((now.effective,), lambda: render_json(now.effective))
        nothing = {"schema": SCHEMA, "verdict": "unknown", "message": now.message}
        return response(503, "application/json", f"{json.dumps(nothing, indent=2)}\n".encode())

    def _readyz(self) -> Response:
        if self._current.ever_valid:
            return self._ok
        return response(503, TEXT, f"not ready: {self._current.snapshot().message}\n".encode())


def response(status: int, content_type: str, body: bytes, *more: tuple[str, str]) -> Response:
    """Response with the headers that all have, and *more*."""
    own = ("Content-Type", content_type), ("Content-Length", str(len(body)))
    return Response(status, (*own, *_HEADERS, *more), body)


def _accepts_openmetrics(accept: str) -> bool:
    """True when Accept (RFC 9110, 12.5.1) lists OpenMetrics with a weight above 0."""
    for each in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in each.split(";"))
        if kind == "application/openmetrics-text":
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False
