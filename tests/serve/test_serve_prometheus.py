"""Debian's Prometheus scrapes the real endpoint, on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import require
from tests.serve.serving import put_report, report_of_now, serving, wait_for

pytestmark = pytest.mark.real

CONFIGURATION = """
scrape_configs:
  - job_name: userns-probe
    scrape_interval: 500ms
    scrape_timeout: 400ms
    static_configs:
      - targets: ["127.0.0.1:%d"]
"""


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self.port = port

    def query(self, query: str) -> dict[tuple[str, ...], float]:
        """Label values, without job and instance, -> value; empty while it is not up yet."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(url) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            return {}
        return {
            tuple(value for name, value in one["metric"].items() if name not in ("__name__", "job", "instance")): float(
                one["value"][1]
            )
            for one in result
        }


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[Prometheus]:
    require(shutil.which("prometheus"), "prometheus (package prometheus)")
    (folder / "prometheus.yml").write_text(CONFIGURATION % target)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Prometheus(port)
    finally:
        process.kill()
        process.wait()


def test_prometheus_scrapes_it_and_sees_each_change(tmp_path: Path) -> None:
    """The verdict that holds is 1, the others 0; once the report is gone, it is unknown."""
    report_file = tmp_path / "report.json"
    put_report(report_file, report_of_now())
    with serving(report_file) as server, prometheus(tmp_path, server.port) as scraper:
        wait_for(lambda: scraper.query("userns_probe_verdict == 1") == {("ready",): 1.0})
        assert scraper.query("userns_probe_verdict == 0") == {("not-ready",): 0.0, ("unknown",): 0.0}
        assert scraper.query("up") == {(): 1.0}
        assert scraper.query("scrape_samples_scraped")[()] <= 80
        report_file.unlink()
        wait_for(lambda: scraper.query("userns_probe_verdict == 1") == {("unknown",): 1.0})
        assert not server.unstructured


def test_promtool_has_no_complaint(tmp_path: Path) -> None:
    """Names, units, types and help are as the convention wants them."""
    require(shutil.which("promtool"), "promtool (package prometheus)")
    put_report(tmp_path / "r", report_of_now())
    with serving(tmp_path / "r") as server:
        metrics = server.get("/metrics").body
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
