"""What reaches `serve`, `prune` and the command line: the report file, requests, the API server's answers, options."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
import trustme
from click.testing import CliRunner

from lab.faults import clean
from lab.faults.targets.target import DATA, Target, lines, parsed
from lab.reports import REPORTS
from lab.serve.serving import report_of_now
from probe.cli.verbs import cli
from probe.outputs.documents import render_json
from probe.outputs.staleness import expired
from probe.publish import desired as plan
from probe.publish.api import answers as kube
from probe.publish.api import errors as refusals
from probe.publish.api.client import connect, seconds_of
from probe.publish.api.interface import Access, Failure
from probe.publish.parts import PARTS, parse_parts
from probe.report import Report
from probe.serve.app import App
from probe.serve.options import parse_listen
from probe.serve.report_file import Current, judge, parse_report
from probe.serve.untrusted_file import Unusable
from probe.settings import Settings, parse_duration

REPORT = "rubbish in the report file"
HTTP = "rubbish in HTTP requests"
API = "rubbish in answers of the API server, kubeconfig, token and CA"
LINE = 40_000
"""Characters of one line of the log: several texts of 500, in which each may take ten."""
OPTIONS = "rubbish in options and arguments"
KUBECONFIG = """apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
"""
WAITS = ("5", "0", "Sat, 21 Nov 2026 21:00:00 GMT", "Wed, 21 Oct 2015 07:28:00 -0000", "-1")


def read_report(data: bytes) -> None:
    """A file gives a report or its documented error, and whatever report it gives, nothing soils what is served."""
    try:
        report = parse_report(data)
    except Unusable as error:
        clean.demand_visible(error.message)
        return
    clean.check_all(report)
    clean.check_all(expired(report))
    snapshot = judge(report, now=1e9, boot_id="another", node_name="node-1")
    assert snapshot.effective is None
    clean.demand_visible(snapshot.message)


def read_request(data: bytes) -> None:
    """Any method, path and header is answered by one of five statuses; what is served was not chosen by the client."""
    method, _, rest = data.decode("latin-1").partition(" ")
    path, _, accept = rest.partition(" ")
    said: list[str] = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_ACCEPT": accept}
    body = b"".join(_APP(environ, lambda status, headers: said.append(status)))
    assert said[0][:3] in ("200", "404", "405", "503")
    assert data.strip() == b"" or len(data) < 20 or data not in body


def read_answer(data: bytes) -> None:
    """An answer is a Node, a refusal that can be logged, or none of Kubernetes'; then nothing was written."""
    node: dict[str, Any] = {}
    with suppress(httpx2.RemoteProtocolError, ValueError, RecursionError):
        node = kube.node_of(json.loads(kube.judged(200, data)), "k8slab")
    observed = plan.parse_observed(node)
    desired = plan.desired_of(_READY, frozenset(PARTS))
    plan.in_sync(desired, observed)
    if desired.condition:
        json.dumps(plan.render_condition(desired.condition, observed, 1.8e9))
    for status in (401, 403, 409, 422, 500):
        told = json.loads(kube.judged(status, data))
        failure = Failure(status, told["reason"], told["message"])
        line = json.dumps(refusals.explain_failure(failure, "k8slab"))
        assert line.isprintable()
        assert len(line) < LINE
        clean.demand_visible("".join(_texts(json.loads(line))))
        refusals.is_missing(failure)
        refusals.conflicting_managers(failure)


def read_wait(data: bytes) -> None:
    """Retry-After is a number of seconds from now on, or nothing."""
    seconds = seconds_of(data.decode("latin-1"))
    assert seconds is None or seconds >= 0


def read_access(data: bytes) -> None:
    """A kubeconfig, a token and a CA may be anything: where no API server listens, it is one kind of failure."""
    with tempfile.TemporaryDirectory() as name, mock.patch.dict(os.environ, _IN_A_POD):
        home = Path(name)
        for file in ("kubeconfig", "token", "ca.crt"):
            (home / file).write_bytes(data)
        for access in (Access(kubeconfig=str(home / "kubeconfig")), Access(service_account=name)):
            with suppress(Failure), connect(access) as api:
                api.get_node("node-1")
                raise AssertionError("nobody answered, and there was a Node")


def read_options(data: bytes) -> None:
    """What people and manifests write behind options."""
    for parser in (parse_duration, parse_listen, parse_parts, lambda text: Settings(node_name=text or None)):
        parsed(lambda text, parser=parser: str(parser(text)), data)
    word = data.decode("utf-8", "surrogateescape").replace("\0", "")
    result = CliRunner().invoke(cli, ["explain", "--", word], standalone_mode=False)
    assert result.exception is None or type(result.exception).__module__.startswith("click"), repr(result.exception)


def _reports() -> Sequence[bytes]:
    return [render_json(report).encode() for report in (*REPORTS.values(), _READY)]


def _exchanges() -> Sequence[bytes]:
    recorded = (DATA / "api-server" / "exchanges-1.36.2.jsonl").read_text().splitlines()
    return sorted({json.dumps(json.loads(line)["response"]["body"]).encode() for line in recorded})


def _certificates() -> Sequence[bytes]:
    certificate = trustme.CA().cert_pem.bytes()
    return [certificate, certificate * 3]


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


_READY: Report = report_of_now()
_APP = App(Current("/nonexistent/report.json", boot_id="x"))
_IN_A_POD = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}

TARGETS = (
    Target("report", REPORT, read_report, _reports, ('"verdict":"ready"', '"value":', '"evidence":[]'), runs=10_000),
    Target(
        name="requests",
        group=HTTP,
        attempt=read_request,
        corpus=lines("GET /metrics application/openmetrics-text", "HEAD / */*", "GET /report.json", "POST /readyz"),
        tokens=("GET", "HEAD", "/", "/metrics", "/healthz", "/readyz", "/report.json"),
    ),
    Target("api-answers", API, read_answer, _exchanges, ('"managedFields":', '"conditions":', "userns-probe.io/")),
    Target("retry-after", API, read_wait, lines(*WAITS), ("GMT", "-0000", "+9999", "Feb")),
    Target(
        "access", API, read_access, lambda: [*lines(KUBECONFIG, "token")(), *_certificates()], ("server:",), runs=2_000
    ),
    Target(
        "options", OPTIONS, read_options, lines("1h30m", ":9476", "[::1]:0", "annotations,label", "node-1"), runs=10_000
    ),
)
