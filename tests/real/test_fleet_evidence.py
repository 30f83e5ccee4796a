"""The one query of `--prometheus`, asked of a real Prometheus that scrapes the counters of four kubelets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from lab.fleet import objects
from lab.serve.prometheus import prometheus
from lab.waiting import wait_for
from probe.fleet import wire_nodes
from probe.fleet.evidence import ATTEMPTS, ERRORS, evidence_rows, query
from probe.fleet.nodes import Nodes
from probe.publish.api.interface import Failure

pytestmark = pytest.mark.real

KUBELETS = {"all-fail": (4, 4), "some-fail": (4, 1), "fine": (4, 0), "not-ready": (4, 4)}
"""Attempts and failures between two scrapes."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """The counters, of one more round."""
        self.server.scrapes += 1  # type: ignore[attr-defined]
        attempts, errors = (each * self.server.scrapes for each in self.server.step)  # type: ignore[attr-defined]
        text = f"# TYPE {ATTEMPTS} counter\n{ATTEMPTS} {attempts}\n# TYPE {ERRORS} counter\n{ERRORS} {errors}\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def kubelet(step: tuple[int, int]) -> Iterator[int]:
    """The port of a kubelet's counters that grow with each scrape."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.step, server.scrapes = step, 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_one_query_for_all_nodes(tmp_path: Path) -> None:
    """Increase of attempts and failures of each node; a contradiction only where all failed on a ready node."""
    nodes = Nodes(objects.NOW.timestamp())
    for name in KUBELETS:
        report = objects.not_ready() if name == "not-ready" else objects.ready()
        nodes.add([msgspec.convert(objects.node(name, report), wire_nodes.Node)])
    with ExitStack() as stack:
        targets = {name: stack.enter_context(kubelet(step)) for name, step in KUBELETS.items()}
        server = stack.enter_context(prometheus(tmp_path, targets))
        url = f"http://127.0.0.1:{server.port}"

        def rows() -> dict[str, tuple[bool, bool]]:
            try:
                found = evidence_rows(query(url), nodes.rows)
            except Failure:  # not up yet
                return {}
            return {row.node: (row.errors > 0, row.contradiction) for row in found if row.attempts >= 8}

        wait_for(lambda: len(rows()) == len(KUBELETS))
        assert rows() == {
            "all-fail": (True, True),
            "some-fail": (True, False),
            "fine": (False, False),
            "not-ready": (True, False),
        }
    with pytest.raises(Failure):
        query(url)
