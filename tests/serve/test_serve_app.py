"""`serve` as its clients see it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from lab.logs import full_pipe
from lab.prerequisites import require
from lab.reports import no_kubelet
from lab.serve.serving import (
    ROOT,
    Serving,
    put,
    put_report,
    refused,
    report_of_now,
    serving,
    start,
    wait_for,
    with_node,
)
from probe.outputs.page import content_security_policy
from probe.serve.app import App
from probe.serve.options import parse_listen
from probe.serve.report_file import Current

PATHS = ("/", "/metrics", "/report.json", "/healthz", "/readyz")


@pytest.fixture
def report_file(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    put_report(path, report_of_now())
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server, for tests that only ask."""
    path = tmp_path_factory.mktemp("served") / "report.json"
    put_report(path, report_of_now())
    with serving(path) as server:
        yield server


def verdict_of(metrics: str) -> str:
    """The verdict that the metrics tell."""
    return re.findall(r'^userns_probe_verdict\{verdict="(.*)"\} 1.0$', metrics, re.MULTILINE)[0]


def test_a_valid_report_is_told_everywhere(served: Serving) -> None:
    """Page, metrics, document, liveness and readiness."""
    assert served.get("/healthz").status == 200
    assert served.get("/readyz").status == 200
    assert verdict_of(served.get("/metrics").body) == "ready"
    assert json.loads(served.get("/report.json").body)["verdict"] == "ready"
    page = served.get("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "node-1" in page.body


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_kept_embedded_or_guessed(served: Serving, path: str) -> None:
    """Each answer forbids scripts, sniffing, referrers and caches, and sets no cookie."""
    headers = served.get(path).headers
    assert headers["content-security-policy"] == content_security_policy()
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "set-cookie" not in headers
    assert headers["server"] == "userns-probe"


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
def test_head_is_get_without_the_body(served: Serving, path: str) -> None:
    """Status and headers are the same."""
    get, head = served.get(path), served.get(path, "HEAD")
    assert head.body == ""
    assert head.status == get.status
    assert head.headers.keys() == get.headers.keys()
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_other_methods_are_405(served: Serving, method: str) -> None:
    """And they learn which ones are not."""
    answer = served.get("/metrics", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/..%2f..%2fetc/passwd", "/healthz%00", "/%ff", "/METRICS"])
def test_other_paths_are_404(served: Serving, path: str) -> None:
    """In words that do not repeat what was asked for."""
    answer = served.get(path)
    assert answer.status == 404
    assert path not in answer.body.split()


def test_a_query_changes_nothing(served: Serving) -> None:
    """Prometheus may be configured to send one."""
    assert verdict_of(served.get("/metrics?a=b&verdict=not-ready").body) == "ready"


def test_metrics_come_in_the_format_that_was_asked_for(served: Serving) -> None:
    """OpenMetrics for whoever takes it, else the text format; both parse, and say the same."""
    text = served.get("/metrics", Accept="text/plain;version=0.0.4")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    openmetrics = served.get(
        "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    )
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.body.endswith("# EOF\n")
    samples = [
        {(sample.name, *sorted(sample.labels.items())): sample.value for family in parsed for sample in family.samples}
        for parsed in (parse_text(text.body), parse_openmetrics(openmetrics.body))
    ]
    assert samples[0] == samples[1]


@pytest.mark.parametrize("accept", ["*/*", "", "application/openmetrics-text; version=x", ",;,=", "a" * 4000])
def test_any_wish_gets_metrics(served: Serving, accept: str) -> None:
    """A header that makes no sense is no reason to be without metrics."""
    assert served.get("/metrics", Accept=accept).status == 200


@pytest.mark.parametrize("weight", ["0", "0.0", "0.000"])
def test_a_format_of_weight_0_is_not_sent(served: Serving, weight: str) -> None:
    """The client says that it cannot read it (RFC 9110, 12.4.2)."""
    answer = served.get("/metrics", accept=f"application/openmetrics-text; version=1.0.0;q={weight}, text/plain")
    assert answer.headers["content-type"].startswith("text/plain")
    answer = served.get("/metrics", accept="text/plain;q=0, application/openmetrics-text;q=0.5")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")


def test_before_the_first_report_it_is_alive_and_not_ready(tmp_path: Path) -> None:
    """Liveness asks for nothing but an answer; the verdict is unknown, in words and numbers."""
    with serving(tmp_path / "report.json") as server:
        assert server.get("/healthz").status == 200
        ready = server.get("/readyz")
        assert (ready.status, ready.body) == (503, "not ready: no report was written yet\n")
        assert verdict_of(server.get("/metrics").body) == "unknown"
        document = server.get("/report.json")
        assert document.status == 503
        assert json.loads(document.body)["verdict"] == "unknown"
        assert server.get("/").status == 200
        put_report(tmp_path / "report.json", report_of_now())
        wait_for(lambda: server.get("/readyz").status == 200)
        assert verdict_of(server.get("/metrics").body) == "ready"


def test_ready_means_a_report_whatever_it_says(tmp_path: Path) -> None:
    """A node that cannot run such Pods has a working agent."""
    now = report_of_now().node
    put_report(tmp_path / "r", with_node(no_kubelet(), boot_id=now.boot_id, uptime_seconds=now.uptime_seconds))
    with serving(tmp_path / "r") as server:
        assert server.get("/readyz").status == 200
        assert verdict_of(server.get("/metrics").body) == "unknown"


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Path]]:
    """One server of node-1, and its file for tests to put another report into."""
    path = tmp_path_factory.mktemp("changing") / "report.json"
    put_report(path, report_of_now())
    with serving(path, "--node-name", "node-1") as server:
        yield server, path


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (report_of_now(age=2, expires_at="2026-11-21T21:30:01Z"), "expired"),
        (with_node(report_of_now(), boot_id="5d1f"), "other-boot"),
        (report_of_now(name="node-2"), "other-node"),
        (b'{"schema": "userns-probe.io/v1"', "not-a-report"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_stale_or_foreign_is_unknown_everywhere(
    changing: tuple[Serving, Path], content: Any, state: str
) -> None:
    """A report that was ready does not shine through, neither as words nor as a number."""
    server, report_file = changing
    put_report(report_file, report_of_now())
    wait_for(lambda: verdict_of(server.get("/metrics").body) == "ready")
    put(report_file, content) if isinstance(content, bytes) else put_report(report_file, content)
    wait_for(lambda: any(entry["state"] == state for entry in server.events("report")))
    metrics = server.get("/metrics").body
    assert verdict_of(metrics) == "unknown"
    assert not re.search(r"^userns_probe_(level|handler)_ready", metrics, re.MULTILINE)
    assert 'userns_probe_node_info{node="node-1"} 1.0' in metrics
    assert json.loads(server.get("/report.json").body)["verdict"] == "unknown"
    page = server.get("/").body
    assert "unknown" in page
    assert server.get("/readyz").status == 200, "it was ready once, and the agent works"


def test_a_request_that_fails_is_500_and_leaves_a_line(tmp_path: Path) -> None:
    """A bug in one output takes no other down, and tells clients nothing."""

    class Broken(Current):
        def snapshot(self) -> Any:
            raise RuntimeError("secret")

    app = App(Broken(str(tmp_path / "r"), boot_id=""))
    seen: list[str] = []

    def ask(path: str) -> bytes:
        return b"".join(app({"REQUEST_METHOD": "GET", "PATH_INFO": path}, lambda status, _: seen.append(status)))

    assert b"secret" not in ask("/") + ask("/metrics") + ask("/report.json")
    assert ask("/healthz") == b"ok\n"
    assert seen == ["500 Internal Server Error"] * 3 + ["200 OK"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_ends_well(report_file: Path, number: int) -> None:
    """0, whatever clients are doing, and the port is free at once."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    with serving(report_file, listen=listen) as server:
        idle, half = server.connect(), server.connect()
        half.sendall(b"GET / HTTP/1.1\r\nHost: x")
        server.get("/metrics")
        server.process.send_signal(number)
        assert server.process.wait() == 0
        wait_for(lambda: server.events("stopped"))
        assert server.unstructured == []
        for connection in (idle, half):
            connection.close()
        socket.create_server(("127.0.0.1", server.port)).close()


def test_a_request_under_way_is_answered_first(report_file: Path) -> None:
    """Whose answer has begun gets all of it, also when SIGTERM comes meanwhile."""
    with serving(report_file) as server:
        connections = [server.connect() for _ in range(5)]
        for connection in connections:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = [connection.recv(1) for connection in connections]
        assert server.end() == 0
        for begun, connection in zip(answers, connections, strict=True):
            head, _, body = (begun + b"".join(iter(lambda c=connection: c.recv(1 << 16), b""))).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert f"Content-Length: {len(body)}" in head.decode()


def is_an_address(host: str) -> bool:
    """Whether this machine can listen on that name or address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.create_server((host, 0), family=family):
        return True
    return False


@pytest.mark.parametrize("listen", ["[::1]:0", "localhost:0", ":0"])
def test_it_listens_where_it_was_told(report_file: Path, listen: str) -> None:
    """Also on IPv6 addresses and on all of them; port 0 is any, and the log tells which."""
    host = {"[::1]:0": "::1", "localhost:0": "localhost", ":0": "127.0.0.1"}[listen]
    require(is_an_address(host), f"the address {host} (localhost: in /etc/hosts)")
    with serving(report_file, listen=listen) as server:
        (entry,) = server.events("listening")
        assert entry["tls"] is False
        with socket.create_connection((host, server.port)) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_port_that_is_taken_is_one_line(report_file: Path) -> None:
    """Which address, and why."""
    with serving(report_file) as server:
        said = refused(["serve", "--report-file", str(report_file), "--listen", f"127.0.0.1:{server.port}"])
    assert said == f"Error: cannot listen on 127.0.0.1:{server.port}: Address already in use\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Missing option '--report-file'"),
        (["--report-file", "r", "--listen", "9476"], "'9476' is not an address to listen on"),
        (["--report-file", "r", "--listen", "::1:9476"], "'::1:9476' is not an address to listen on"),
        (["--report-file", "r", "--listen", "127.0.0.1:65536"], "is not an address to listen on"),
        (["--report-file", "r", "--listen", "192.0.2.1:9476"], "cannot listen on 192.0.2.1:9476: "),
        (["--report-file", "r", "--tls-cert-file", "c"], "TLS needs both a certificate and its private key"),
        (["--report-file", "r", "--tls-private-key-file", "k"], "TLS needs both a certificate and its private key"),
        (["--report-file", "r", "--tls-cert-file", "c", "--tls-private-key-file", "k"], "no certificate with its"),
        (["--report-file", "r", "--node-name", "Not_A_Name"], "is not a DNS subdomain"),
        (["--report-file", "r", "--publish", "everything"], "'everything' cannot be published"),
    ],
)
def test_usage_errors_are_64_and_one_line(options: list[str], words: str) -> None:
    """What is wrong stands in the last line, without a traceback."""
    said = refused(["serve", *options])
    assert words in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("text", "address"),
    [(":9476", ("", 9476)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80)), ("a-b.c:1", ("a-b.c", 1))],
)
def test_addresses_to_listen_on(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text", ["", "9476", ":", "a:b", ":+1", ":\u0661", "::1:80", "[::1]", "[]:1", "a b:1", ":1\n", "http://a:1"]
)
def test_no_addresses_to_listen_on(text: str) -> None:
    with pytest.raises(ValueError, match="address to listen on"):
        parse_listen(text)


def test_nobody_who_reads_the_log_is_waited_for(report_file: Path) -> None:
    """With a log that is full lines are lost, and answers are not."""
    read_end, write_end = full_pipe()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = start("serve", "--report-file", str(report_file), "--listen", f"127.0.0.1:{port}", stderr=write_end)
    try:
        wait_for(lambda: answers(port))
        report_file.unlink()  # there is something to log
        wait_for(lambda: verdict_of(get(port, "/metrics")) == "unknown")
        process.terminate()
        assert process.wait() == 0
    finally:
        process.kill()
        os.close(read_end)
        os.close(write_end)


def get(port: int, path: str) -> str:
    """What is there."""
    client = http.client.HTTPConnection("127.0.0.1", port)
    client.request("GET", path)
    return client.getresponse().read().decode()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(ConnectionError):
        return bool(get(port, "/healthz"))
    return False


def test_a_log_entry_is_json_and_fits_into_what_a_pipe_takes_at_once() -> None:
    """However much a server says, and whatever it is made of."""
    script = """
from probe.watch.log import log
log("failed", "error", message="m" * 100_000, managers=["a"] * 100_000, strange={1, 2})
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, check=True)
    assert len(done.stderr) <= select.PIPE_BUF
    assert json.loads(done.stderr).keys() >= {"event", "level", "timestamp", "message", "managers", "strange"}


@pytest.mark.parametrize("no_colour", [pytest.param(True, marks=pytest.mark.slow), False])
def test_on_a_terminal_logs_are_for_people(report_file: Path, no_colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours there, unless NO_COLOR asks for none."""
    monkeypatch.setenv("NO_COLOR", "1" if no_colour else "")
    main, replica = pty.openpty()
    process = start("serve", "--report-file", str(report_file), "--listen", "127.0.0.1:0", stderr=replica)
    os.close(replica)
    said = b""
    while b"listening" not in said or b"\n" not in said:
        said += os.read(main, 4096)
    process.terminate()
    assert process.wait() == 0
    os.close(main)
    assert (b"\x1b[" in said) != no_colour
    assert not said.lstrip().startswith(b"{")
