"""A publisher between reports of our making and the double of the API server, with a clock that a test turns."""

from __future__ import annotations

import math

from msgspec.structs import replace

from lab import reports
from lab.serve.api_double import ApiDouble
from probe.finding import Evidence
from probe.outputs.publishing import Publishing
from probe.outputs.staleness import expired
from probe.publish.api.client import connect
from probe.publish.api.interface import Access
from probe.publish.parts import Part
from probe.publish.publisher import Pace, Publisher
from probe.report import Report
from probe.serve.history import History
from probe.serve.report_file import Snapshot

NODE = "k8slab"
BOOT = reports.make_report().node.boot_id
OTHER_BOOT = "aaaaaaaa-7b1d-4f0e-9a55-2d7f3c0a9b11"
PACE = Pace(start_within=0, look=math.inf, look_at_rest=math.inf)
"""Looks at the Node are left to the tests that are about them: all others count requests."""
DAY = 86400.0


class Source:
    """What holds now, as a test says."""

    def __init__(self) -> None:
        self.publishing: Publishing | None = None
        self.report: Report | None = None
        self.history = History()

    def snapshot(self) -> Snapshot:
        report = self.report and self.history.continued(self.report)
        return Snapshot(state="valid" if report else "missing", message="", effective=report)


class World:
    """One node: its reports, its publisher, its clocks, and the API server."""

    def __init__(self, api: ApiDouble) -> None:
        self.api, self.source = api, Source()
        self.access = Access(service_account=str(api.directory), silence=2.0, deadline=4.0)
        self.now, self.wall_jump = 1000.0, 0.0
        self.probes = 0
        self.kubelet = 800
        """PID of the kubelet."""
        self.pace = PACE
        self.parts: frozenset[Part] = frozenset({"annotations"})
        self.publisher = self.make_publisher()

    def make_publisher(self) -> Publisher:
        return Publisher(
            self.source,
            node_name=NODE,
            boot_id=BOOT,
            parts=self.parts,
            connect=lambda: connect(self.access),
            pace=self.pace,
            clock=lambda: self.now,
            wall_clock=lambda: self.wall,
        )

    @property
    def wall(self) -> float:
        """The wall clock."""
        return 1_790_000_000.0 + self.now + self.wall_jump

    def restart(self, *parts: Part) -> None:
        """The process is gone, and all it knew; a new one starts."""
        self.parts = frozenset(parts) or self.parts
        self.source.history = History()
        self.publisher = self.make_publisher()

    def probe(self, verdict: str, boot_id: str = BOOT) -> None:
        """A new probe came to this verdict."""
        made = {"ready": reports.make_report, "not-ready": reports.tmpfs_refused, "unknown": reports.not_permitted}
        report = made[verdict]()
        assert report.verdict == verdict
        self.probes += 1
        node = replace(report.node, name=NODE, boot_id=boot_id)
        seen = (Evidence(f"/proc/{self.kubelet}", f"kubelet, PID {self.kubelet}"),)
        findings = (replace(one, evidence=seen) if one.id == "kubelet-running" else one for one in report.findings)
        self.source.report = replace(report, node=node, probed_at=f"probe {self.probes}", findings=tuple(findings))

    def expire(self) -> None:
        """The last report grew too old."""
        assert self.source.report
        self.source.report = expired(self.source.report)

    def step(self, seconds: float = 2.0) -> None:
        """Look once, then let time pass."""
        self.publisher.step()
        self.now += seconds

    def settle(self, attempts: int = 12) -> None:
        """Look until nothing goes wrong any more; each pause of the backoff passes between two looks."""
        for _ in range(attempts):
            failed = self.result("error")
            self.step(400.0)
            if self.result("error") == failed and not self.api.faults:
                return

    def result(self, kind: str) -> int:
        told = self.source.publishing
        return told.results[kind] if told else 0  # type: ignore[index]

    @property
    def writes(self) -> int:
        """Requests to write, whatever became of them."""
        return self.api.count("PATCH") + self.api.count("POST")

    @property
    def node(self) -> dict[str, dict[str, str]]:
        metadata: dict[str, dict[str, str]] = self.api.store.nodes[NODE]["metadata"]
        return metadata

    def said(self, key: str) -> str | None:
        """The annotation of ours."""
        return self.node["annotations"].get(f"userns-probe.io/{key}")
