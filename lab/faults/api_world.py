"""One node whose `serve` is a real process: its reports, its API server, and what is true of both at each moment."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path

from msgspec.structs import replace

from lab import reports
from lab.serve import api_double
from lab.serve.api_double import ApiDouble
from lab.serve.api_store import condition_of
from lab.serve.serving import ROOT, Serving, put_report, wait_for
from probe.outputs.annotations import LABEL, LABEL_VALUES, node_annotations, node_condition, node_label
from probe.outputs.memory import REMEMBERED
from probe.outputs.staleness import STALE, expired
from probe.publish.desired import absent_report
from probe.publish.owners import REFRESHED_AT
from probe.report import Report
from probe.serve.report_file import boot_time, read_boot_id
from probe.verdict import Verdict

NODE = "k8slab"
_UNCOMPARED = REMEMBERED | {REFRESHED_AT}
RULES = {("get", "nodes"), ("patch", "nodes"), ("patch", "nodes/status"), ("create", "events")}
REQUESTS = 4
"""Requests of one publication at most: metadata, keys that are no longer wanted, status, an Event."""
WATCHDOG = 60.0
"""Seconds for whatever must happen at last: it takes one or two."""
SHORT = 0.3
"""Seconds that a report lives which is meant to expire."""
QUIET = 0.15
"""Seconds without any request, after which nothing more is to come: three looks at the report."""
_PROBES = {"ready": reports.make_report, "not-ready": reports.tmpfs_refused, "unknown": reports.not_permitted}
_VERDICT = re.compile(r'^userns_probe_verdict\{verdict="([a-z-]+)"\} 1\.0$', re.MULTILINE)
_ROUNDS = re.compile(r'^userns_probe_publish_total\{result="([a-z]+)"\} ([0-9.]+)$', re.MULTILINE)


class Lied(Exception):
    """What was said or left is not what it ought to be."""


class World:
    """The node; every report is put in place here, so that it is known what may be said."""

    def __init__(self, directory: Path, api: ApiDouble, serve: Serving) -> None:
        self.file, self.api, self.serve = directory / "report.json", api, serve
        self._truths = ["unknown"]  # the verdicts that held, one after the other, since the one that was said last
        self._said = ""
        self.slowest = 0.0
        """Seconds of the slowest answer to a scrape."""
        self._known: list[Verdict] = []
        """The verdicts that the label may tell while it is unknown: the one it told last, and those since."""
        self.wanted: Report = absent_report(NODE, read_boot_id())
        """What must stand on the Node in the end."""
        self.changes = 0
        """How often that became another."""
        self._number = 0

    def begin(self) -> None:
        """A new round of faults is counted."""
        self.changes, self.slowest = 0, 0.0
        with self.api.lock:
            self.api.requests.clear()
            self.api.store.writes = 0

    def probe(self, verdict: str, *, lives: float = 3600.0) -> None:
        """A probe came to this verdict, and to something else than the ones before."""
        self._number += 1
        report = replace(_PROBES[verdict](), agent_version=f"0.1.{self._number}")
        self._hold(report)
        self._put(lives)

    def probe_again(self) -> None:
        """A probe found the same as the one before."""
        self._put(3600.0)

    def probe_once(self, verdict: str) -> None:
        """A probe came to this verdict, and is the last one: its report grows too old."""
        self.probe(verdict, lives=SHORT)
        self._hold(expired(self.wanted))

    def spoil(self, put: Callable[[Path], object]) -> None:
        """No report is to be had from now on: *put* makes something else of its path, at which nothing is."""
        self._hold(absent_report(NODE, read_boot_id()))
        self._clear()
        put(self.file)

    def scrape(self) -> dict[str, int]:
        """Rounds of publishing by their result, from /metrics, whose verdict must be one that holds. *Errors*: Lied."""
        began = time.monotonic()
        try:
            answer = self.serve.get("/metrics")
        except (OSError, HTTPException) as error:
            raise Lied(f"/metrics did not answer: {error!r}") from error
        self.slowest = max(self.slowest, time.monotonic() - began)
        said = _VERDICT.findall(answer.body)
        if answer.status != 200 or len(said) != 1:
            raise Lied(f"/metrics: {answer.status} {answer.body[:200]!r}")
        self._said = said[0]
        if self._said not in self._truths:
            raise Lied(f"/metrics says {self._said}, when {self._truths} held")
        del self._truths[: self._truths.index(self._said)]  # what held before may not be said any more
        return {result: int(float(count)) for result, count in _ROUNDS.findall(answer.body)}

    def settle(self) -> None:
        """Return when /metrics and Node say what holds, and no request follows. *Errors*: Lied."""
        await_(self._is_settled, lambda: f"the Node never said {self.wanted.verdict}: {self.difference()}")
        await_(self._is_quiet, lambda: f"requests without end: {[one.method for one in self.api.requests[-9:]]}")
        if difference := self.difference():
            raise Lied(f"it did not stay: {difference}")
        self._truths = [self.wanted.verdict]
        label = self.api.store.nodes[NODE]["metadata"]["labels"][LABEL]
        self._known = [verdict for verdict, value in LABEL_VALUES.items() if value == label != "unknown"]

    def difference(self) -> str:
        """In which part the Node is not as wanted; empty when all is right."""
        node = self.api.store.nodes.get(NODE)
        if node is None:
            return "the Node is gone"
        annotations = {key: text for key, text in node["metadata"]["annotations"].items() if key not in _UNCOMPARED}
        wanted = {"node.alpha.kubernetes.io/ttl": "0"} | node_annotations(self.wanted)
        if differing := {key for key in {**annotations, **wanted} if annotations.get(key) != wanted.get(key)}:
            return f"annotations: {[(key, annotations.get(key), wanted.get(key)) for key in differing]}"[:500]
        labels = [
            {"kubernetes.io/hostname": NODE} | node_label(self.wanted, known) for known in self._known or ["unknown"]
        ]
        if node["metadata"]["labels"] not in labels:
            return f"labels {node['metadata']['labels']}"
        found, condition = condition_of(node) or {}, node_condition(self.wanted)
        if any(found.get(name) != getattr(condition, name) for name in condition.__struct_fields__):
            return "condition"
        return "" if condition_of(node, "Ready") else "the kubelet's condition is gone"

    def _is_settled(self) -> bool:
        self.scrape()
        if self._said == self.wanted.verdict and not self.api.faults and not self.difference():
            return True
        if self.wanted.verdict == "unknown" and self.wanted.reason != STALE:
            time.sleep(QUIET)
            self.probe_again()  # or it stays a doubt
        return False

    def _is_quiet(self) -> bool:
        asked = len(self.api.requests)
        time.sleep(QUIET)
        return len(self.api.requests) == asked and not self._is_failing()

    def _is_failing(self) -> bool:
        """Whether a retry is still to come, perhaps of an Event alone."""
        told = [one["event"] for one in self.serve.log if one["event"] in ("publish_failed", "publish_recovered")]
        return told[-1:] == ["publish_failed"]

    def _hold(self, report: Report) -> None:
        self.changes += 1
        if report.verdict != self._truths[-1]:
            self._truths.append(report.verdict)
        if report.verdict != "unknown":
            self._known.append(report.verdict)
        self.wanted = replace(report, node=reports.Node(name=NODE, boot_id=read_boot_id(), distribution=""))

    def _put(self, lives: float) -> None:
        now = datetime.now(UTC)
        node = replace(self.wanted.node, uptime_seconds=boot_time())
        times = {"probed_at": now.isoformat(), "expires_at": (now + timedelta(seconds=lives)).isoformat()}
        if self.file.is_dir():
            self._clear()
        put_report(self.file, replace(self.wanted, node=node, **times))

    def _clear(self) -> None:
        if self.file.is_dir():
            self.file.rmdir()
        else:
            self.file.unlink(missing_ok=True)


def await_(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Return when *condition* holds. *Errors*: Lied when the watchdog fires first."""
    deadline = time.monotonic() + WATCHDOG
    while not condition():
        if time.monotonic() > deadline:
            raise Lied(f"{what()} (within {WATCHDOG:g} s)")
        time.sleep(0.005)


def quiet_port() -> int:
    """A free port that the kernel gives to nobody who just connects, so that it stays free while a server is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", port))
            return port


@contextmanager
def running(directory: Path) -> Iterator[World]:
    """The node with an API server of its own and a `serve` that publishes all there is."""
    account = directory / "serviceaccount"
    account.mkdir()
    with api_double.running(account) as api:
        api.stop()
        api.start(quiet_port())
        api.store.rules |= RULES
        environment = os.environ | {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
        command = [sys.executable, "-m", "lab.faults.hasty_serve", str(account), f"--node-name={NODE}"]
        command += [f"--report-file={directory / 'report.json'}", "--listen=127.0.0.1:0"]
        command += ["--publish=annotations,label,condition,events"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            serve = Serving(process)
            wait_for(lambda: serve.port or process.poll() is not None)
            assert serve.port, serve.unstructured
            yield World(directory, api, serve)
        finally:
            process.kill()
            process.wait()
