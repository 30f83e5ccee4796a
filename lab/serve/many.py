"""A mixed fleet for a real Prometheus: one HTTP server that has the product's own metrics of each node at a path."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from lab import reports
from lab.serve.prometheus import FULL, of_this_boot
from probe.outputs.exposition import TEXT, generate_text
from probe.outputs.metrics import render_metrics
from probe.outputs.publishing import Publishing
from probe.outputs.staleness import expired
from probe.report import Report, RestartForecast

POOLS = ("general", "gpu", "spot", "edge")
FAILS = RestartForecast(outcome="fails", reason="RangeTooSmall", message="")
KINDS: tuple[Report | None, ...] = (
    *[reports.make_report()] * 6,
    reports.tmpfs_refused(),
    reports.user_namespaces_off(),
    reports.not_permitted(),
    reports.several_handlers(),
    reports.hung_mount(),
    reports.old_containerd(),
    replace(reports.make_report(), id_ranges=(FULL,), forecast=FAILS),
    replace(reports.make_report(), contradictions=("runtime-kernel-claim",)),
    replace(reports.make_report(), facts=reports.make_facts(kernel_release="6.18.2", kubelet_version="1.37.0")),
    expired(reports.make_report()),
    None,
)
"""What a node's report is, in turn; None before the first one."""


class Member(Struct, frozen=True):
    """A node of the fleet."""

    name: str
    pool: str
    report: Report | None
    metrics: bytes


def fleet(count: int) -> list[Member]:
    """Nodes of every kind in every pool."""
    members = []
    for number in range(count):
        name, kind = f"node-{number:03}", KINDS[number % len(KINDS)]
        pool = POOLS[number % len(POOLS)]
        report = None
        if kind is not None:
            told = of_this_boot(kind, 3600.0 if kind.reason == "ReportStale" else 0.0)
            report = replace(told, node=replace(told.node, name=name))
        publishing = Publishing(results={"success": number, "error": number % 3}, last_success=time.time())
        text = render_metrics(report, publishing, generate_text, name)
        members.append(Member(name, pool, report, text.encode()))
    return members


@contextmanager
def serving_all(texts: dict[str, bytes]) -> Iterator[int]:
    """A server of these texts by their paths; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = texts.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", TEXT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def kube_state_metrics(names: list[str]) -> bytes:
    """What kube-state-metrics says of these Nodes."""
    lines = ["# TYPE kube_node_info gauge"]
    lines += [f'kube_node_info{{node="{name}",os_image="Debian GNU/Linux 12"}} 1' for name in names]
    lines += ["# TYPE kube_node_created gauge", *(f'kube_node_created{{node="{name}"}} 1.7e9' for name in names)]
    lines.append("# TYPE kube_node_status_condition gauge")
    lines += [
        f'kube_node_status_condition{{node="{name}",condition="UserNamespacesReady",status="true"}} 1' for name in names
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def target(port: int, path: str, **labels: Any) -> dict[str, Any]:
    """An item of `static_configs`; `instance` is the path."""
    address = f"127.0.0.1:{port}"
    return {"targets": [address], "labels": {"__metrics_path__": path, "instance": path.strip("/"), **labels}}
