"""A real Prometheus, its promtool, and a node of each kind for them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from lab import reports
from lab.prerequisites import require
from lab.serve.serving import Serving, put_report, serving
from probe.report import IdRange, Report
from probe.serve.report_file import boot_time, read_boot_id

SCRAPING = "{job_name: userns-probe, scrape_interval: 500ms, scrape_timeout: 400ms, static_configs: %s}"
Series = dict[tuple[str, ...], float]

FULL = IdRange(first=65536, count=131072, ids_per_pod=65536, configured=True, slots=2, used=2)
NODES = {
    "ready": lambda: reports.make_report(),
    "full": lambda: reports.make_report(id_ranges=(FULL,)),
    "old-kernel": lambda: reports.tmpfs_refused(),
    "restricted": lambda: reports.not_permitted(),
    "stopped": lambda: reports.make_report(),
}
"""A node of each kind, and what was found there; of the last one a while ago."""
AGES = {"stopped": 60.0}
"""In seconds. This machine may not have run for longer."""


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self.port = port

    def query(self, query: str) -> Series:
        """Label values in the order of their names, without job and instance, -> value; empty while it is not up."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(url) as answer:
                result = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # not ready yet
                return {}
            raise AssertionError(error.read().decode()) from error
        except OSError:
            return {}
        hidden = ("__name__", "job", "instance")
        return {
            tuple(value for name, value in sorted(one["metric"].items()) if name not in hidden): float(one["value"][1])
            for one in result
        }


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, int]) -> Iterator[Prometheus]:
    """One that scrapes these ports, each under the name of its node, which is a label."""
    static = [{"targets": [f"127.0.0.1:{port}"], "labels": {"node": name}} for name, port in targets.items()]
    (folder / "prometheus.yml").write_text(f"scrape_configs: [{SCRAPING % json.dumps(static)}]")
    with running(folder) as found:
        yield found


@contextmanager
def running(folder: Path) -> Iterator[Prometheus]:
    """One with the configuration in this folder, prometheus.yml, where it stores its data, too."""
    require(shutil.which("prometheus"), "prometheus (package prometheus)")
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


def promtool(*arguments: str | Path, text: str = "") -> str:
    """What promtool says; it must have no complaint."""
    require(shutil.which("promtool"), "promtool (package prometheus)")
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def serving_each(folder: Path) -> Iterator[dict[str, Serving]]:
    """A `serve` for each kind of node."""
    with ExitStack() as stack:
        running = {}
        for name, make in NODES.items():
            put_report(folder / name, of_this_boot(make(), AGES.get(name, 0.0)))
            running[name] = stack.enter_context(serving(folder / name))
        yield running


def of_this_boot(report: Report, age: float = 0.0) -> Report:
    """*report* as if this machine's node had been probed *age* seconds ago; it has expired unless it is new."""
    node = msgspec.structs.replace(report.node, boot_id=read_boot_id(), uptime_seconds=boot_time() - age)
    probed = datetime.now(UTC) - timedelta(seconds=age)
    life = timedelta(seconds=age / 2) if age else timedelta(minutes=15)
    times = {"probed_at": probed.isoformat(), "expires_at": (probed + life).isoformat()}
    return msgspec.structs.replace(report, node=node, **times)
