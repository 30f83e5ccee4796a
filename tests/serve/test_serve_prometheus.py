"""Debian's Prometheus scrapes the real endpoint, on loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.readme import DOCS
from lab.serve.prometheus import NODES, Series, prometheus, promtool, serving_each
from lab.serve.serving import Serving, put_report, report_of_now, serving, wait_for
from probe.outputs.metrics import SERIES_LIMIT

pytestmark = [pytest.mark.real, pytest.mark.program]


def test_prometheus_scrapes_it_and_sees_each_change(tmp_path: Path) -> None:
    """The verdict that holds is 1, the others 0; once the report is gone, it is unknown."""
    report_file = tmp_path / "report.json"
    put_report(report_file, report_of_now())
    with serving(report_file) as server, prometheus(tmp_path, {"n": server.port}) as scraper:
        wait_for(lambda: scraper.query("userns_probe_verdict == 1") == {("n", "ready"): 1.0})
        assert scraper.query("userns_probe_verdict == 0") == {("n", "not-ready"): 0.0, ("n", "unknown"): 0.0}
        assert scraper.query("up") == {("n",): 1.0}
        assert scraper.query("scrape_samples_scraped")[("n",)] <= SERIES_LIMIT
        report_file.unlink()
        wait_for(lambda: scraper.query("userns_probe_verdict == 1") == {("n", "unknown"): 1.0})
        assert not server.unstructured


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Serving]]:
    """A `serve` for each kind of node."""
    with serving_each(tmp_path_factory.mktemp("nodes")) as running:
        yield running


OLD, NEW = "6.1.0-44-amd64", "6.12.38+deb13-amd64"
EXPECTED: dict[str, Series] = {
    "Where can images be built inside a Pod?": {("build", "full"): 1, ("build", "ready"): 1},
    "Which nodes are not ready?": {("old-kernel", "not-ready"): 1},
    "Why, and how many nodes for that reason?": {
        ("TmpfsNotIdmappable",): 1,
        ("NotPermitted",): 1,
        ("ReportStale",): 1,
    },
    "Which nodes have an unknown verdict?": {("restricted", "unknown"): 1, ("stopped", "unknown"): 1},
    "What share of the fleet runs Pods with emptyDir and ConfigMaps?": {(): 0.4},
    "Which checks fail, and where?": {("filesystem-tmpfs", "old-kernel"): 3},
    "Which file systems do kernels refuse?": {("tmpfs", "tmpfs"): 1},
    "Which nodes have a handler that is not ready?": {("old-kernel",): 0, ("runc", "old-kernel"): 0},
    "Which nodes have no agent?": {},
    "On which kernels does it work, and on which not?": {
        (NEW, "ready"): 2,
        (OLD, "not-ready"): 1,
        (NEW, "unknown"): 2,
    },
    "Where is there room for fewer than ten more Pods?": {("full", "free"): 0},
}


def documented() -> dict[str, str]:
    """Question -> query, as docs/metrics.md has them."""
    text = (DOCS / "metrics.md").read_text()
    rows = text.split("\n| question | query |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    found = (re.fullmatch(r"\| (.+\?) \| `(.+)` \|", row) for row in rows)
    return {one[1]: one[2] for one in found if one}


def test_the_documented_queries(servers: dict[str, Serving], tmp_path: Path) -> None:
    """Each finds the nodes that it is about, and no others."""
    queries = documented()
    with prometheus(tmp_path, {name: server.port for name, server in servers.items()}) as scraper:
        wait_for(lambda: scraper.query("userns_probe_build_info").keys() == {(name, "0.1.0") for name in NODES})
        stale = scraper.query(queries.pop("Which nodes have an expired report?"))
        assert stale.keys() == {("stopped",)}
        assert {question: scraper.query(query) for question, query in queries.items()} == EXPECTED


def test_promtool_has_no_complaint(servers: dict[str, Serving]) -> None:
    """Names, units, types and help are as the convention wants them."""
    for server in servers.values():
        assert promtool("check", "metrics", text=server.get("/metrics").body) == ""
