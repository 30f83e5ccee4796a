"""`watch` and `serve` as they run on a node, beside Debian's prometheus-node-exporter: memory, latency, CPU."""

from __future__ import annotations

import http.client
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from lab.bench.account import account
from lab.bench.processes import cpu, memory
from lab.bench.table import Row, mib, ms
from lab.real import packages
from lab.real.node import descendants, make_node, make_workspace
from lab.serve.agent import IMAGE, NODE_NAME, Watch, publishing, watching
from lab.serve.serving import serving, wait_for
from probe.watch.pace import LOOK

DAY = 86_400
PROBES_A_DAY = DAY // 1800
"""At the default interval."""
SCRAPES_A_DAY = DAY // 15
"""At the shortest interval that is usual."""
# As Prometheus asks.
HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
SETTLED = 2.5 * LOOK
"""Seconds after which each look takes the short cut, which the first two looks after a probe prepare."""
FEW_COLLECTORS = (
    "--web.disable-exporter-metrics",
    "--collector.disable-defaults",
    *(f"--collector.{name}" for name in ("loadavg", "meminfo", "uname")),
)
"""With these it says about as much as `serve` does."""


def measure(scrapes: int, probes: int, rest: float, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures, in seconds and bytes. *rest*: seconds for which nobody asks them anything."""
    node_exporter = packages.runtime("prometheus-node-exporter")
    handlers = {"runc": packages.runtime("runc", (1, 2)).path}
    with ExitStack() as stack:
        node = stack.enter_context(make_node(stack.enter_context(make_workspace())))
        node.endpoint = stack.enter_context(node.containerd(packages.containerd(), handlers))
        stack.enter_context(node.kubelet())
        watch = stack.enter_context(watching(node))
        publisher, api = stack.enter_context(publishing(node, watch.report))
        wait_for(lambda: api.store.writes)  # which it does four times a day
        # One of each, as on a node: two processes of one program share their text, and each would look smaller.
        targets = {
            "serve --publish": (publisher.process.pid, publisher.port),
            "node_exporter": stack.enter_context(exporting(node_exporter.path)),
        }
        found: dict[str, Any] = {"node_exporter": str(node_exporter), "scrapes": scrapes}
        say(f"{probes} probes by watch")
        found["probe cpu"] = _cpu_of_probe(watch, probes)
        say(f"{scrapes} scrapes of each")
        found["targets"] = _scrape(targets, scrapes)
        found["watch"] = {"pss": sum(memory(pid)["pss"] for pid in watch.pids)}
        say(f"nothing at all for {rest:g} s")
        found["probe cpu"] += _cpu_of_first_looks(watch)
        resting = {name: descendants(pid) for name, (pid, _) in targets.items()} | {"watch": watch.pids}
        before = {name: sum(map(cpu, pids)) for name, pids in resting.items()}
        time.sleep(rest)
        after = {name: sum(map(cpu, pids)) for name, pids in resting.items()}
        found["resting"] = {name: (after[name] - before[name]) / rest for name in before}
        say(f"{scrapes} scrapes, without publishing")
        plain = stack.enter_context(serving(watch.report, f"--node-name={NODE_NAME}", variables=IMAGE))
        more = {
            "serve": (plain.process.pid, plain.port),
            "node_exporter": targets["node_exporter"],
            "node_exporter, few collectors": stack.enter_context(exporting(node_exporter.path, *FEW_COLLECTORS)),
        }
        found["plain"] = _scrape(more, scrapes)
    return found


@contextmanager
def exporting(program: str, *options: str) -> Iterator[tuple[int, int]]:
    """A running node_exporter on loopback: its pid and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, f"--web.listen-address=127.0.0.1:{port}", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.01)
        yield process.pid, port
    finally:
        process.kill()
        process.wait()


def _cpu_of_probe(watch: Watch, times: int) -> float:
    """Seconds of CPU of one probe and the first looks: `watch` and all processes that it starts from now on."""
    with account() as cgroup:
        cgroup.move(watch.pid)
        try:
            before = cgroup.cpu
            for _ in range(times):
                watch.probe()
            return (cgroup.cpu - before) / times
        finally:
            cgroup.release()


def _cpu_of_first_looks(watch: Watch) -> float:
    """Seconds of CPU of the looks after a probe that prepare the short cut of all others, but for the very first."""
    before = sum(map(cpu, watch.pids))
    time.sleep(SETTLED)
    return sum(map(cpu, watch.pids)) - before


def _scrape(targets: dict[str, tuple[int, int]], times: int) -> dict[str, dict[str, float]]:
    """Latency and CPU of one scrape of each, asked in turn; memory afterwards."""
    latencies: dict[str, list[float]] = {name: [] for name in targets}
    series = {name: _series(port) for name, (_, port) in targets.items()}
    before = {name: cpu(pid) for name, (pid, _) in targets.items()}
    for _ in range(times):
        for name, (_, port) in targets.items():
            began = time.perf_counter()
            get(port, HEADERS)
            latencies[name].append(time.perf_counter() - began)
    return {
        name: {
            "median": statistics.median(latencies[name]),
            "p99": statistics.quantiles(latencies[name], n=100)[98],
            "cpu": (cpu(pid) - before[name]) / times,
            "series": series[name],
            **_memory_of_all(pid),
        }
        for name, (pid, _) in targets.items()
    }


def _memory_of_all(pid: int) -> dict[str, int]:
    """Memory of a process and of all that it started."""
    found = [memory(each) for each in descendants(pid)]
    return {name: sum(each[name] for each in found) for name in found[0]}


def get(port: int, headers: dict[str, str]) -> bytes:
    """What a scrape gets, on a connection of its own."""
    client = http.client.HTTPConnection("127.0.0.1", port)
    try:
        client.request("GET", "/metrics", headers=headers)
        response = client.getresponse()
        content = response.read()
        assert response.status == 200, content[:200]
        return content
    finally:
        client.close()


def _series(port: int) -> int:
    lines = get(port, {}).decode().splitlines()
    return sum(bool(line) and not line.startswith("#") for line in lines)


def rows(found: dict[str, Any]) -> list[Row]:
    """The figures beside what they are compared with."""
    return [*_memory_rows(found), *_scrape_rows(found["plain"]), *_day_rows(found)]


def _memory_rows(found: dict[str, Any]) -> list[Row]:
    theirs = found["targets"]["node_exporter"]["pss"]
    watch, serve = found["watch"]["pss"], found["targets"]["serve --publish"]["pss"]
    sizes = (
        ("watch at rest, PSS", watch, "at most 12 MB"),
        (f"serve --publish after {found['scrapes']} scrapes, PSS", serve, "at most 45 MB"),
        ("both, PSS", watch + serve, "at most 1.50"),
    )
    return [Row(what, mib(own), f"node_exporter alone: {mib(theirs)}", own / theirs, aim) for what, own, aim in sizes]


def _scrape_rows(targets: dict[str, Any]) -> list[Row]:
    own = targets["serve"]
    made = []
    for figure, what in (("median", "median"), ("p99", "p99"), ("cpu", "CPU")):
        for name in ("node_exporter", "node_exporter, few collectors"):
            other = targets[name]
            compared = f"node_exporter, {other['series']} series: {ms(other[figure])}"
            title = f"scrape of {own['series']} series, {what}"
            made.append(Row(title, ms(own[figure]), compared, own[figure] / other[figure]))
    return made


def _day_rows(found: dict[str, Any]) -> list[Row]:
    resting = found["resting"]
    days = {name: SCRAPES_A_DAY * each["cpu"] + DAY * resting[name] for name, each in found["targets"].items()}
    watch, serve = PROBES_A_DAY * found["probe cpu"] + DAY * resting["watch"], days["serve --publish"]
    theirs = days["node_exporter"]
    compared = f"node_exporter, {SCRAPES_A_DAY} scrapes: {theirs:.0f} s"
    scrape = found["targets"]["node_exporter"]["cpu"]
    made = [
        Row(f"watch, CPU of {what}", ms(own), f"node_exporter, a scrape: {ms(scrape)}", own / scrape)
        for what, own in (("a probe", found["probe cpu"]), ("a look", LOOK * resting["watch"]))
    ]
    return made + [
        Row(f"CPU a day: {what}", f"{own:.0f} s, {own / DAY:.2%} of a core", compared, own / theirs)
        for what, own in (
            (f"watch, {PROBES_A_DAY} probes", watch),
            (f"serve --publish, {SCRAPES_A_DAY} scrapes", serve),
            ("both", watch + serve),
        )
    ]
