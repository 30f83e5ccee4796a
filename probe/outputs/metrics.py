"""The Report for Prometheus, at most 80 series whatever the node holds.

Label values are closed lists (vocabulary.py), or come from the node's own software and are then cut to 64 visible
characters and few: of file systems the first 10 (refused ones first), of handlers the default one and the next 5 by
name. Nothing is named after a path, a Pod or a volume. What is not known has no series, but for the verdict itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from probe import __version__
from probe.checks.check import LEVELS, Status
from probe.outputs.labels import CHECK_IDS, blocking_reason, filesystem_results, shown
from probe.outputs.staleness import parse_time
from probe.report import Report, ReportFacts
from probe.verdict import Verdict

PREFIX = "userns_probe_"
SERIES_LIMIT = 80
FILESYSTEMS_LIMIT = 10
HANDLERS_LIMIT = 6
STATUS_NUMBERS: dict[Status, int] = {"pass": 0, "warn": 1, "fail": 2, "unknown": 3, "skipped": 4}

PublishResult = Literal["success", "error", "skipped"]
PUBLISH_RESULTS: tuple[PublishResult, ...] = ("success", "error", "skipped")

_VERDICTS: tuple[Verdict, ...] = ("ready", "not-ready", "unknown")
_LABEL_BYTES = 64


class Publishing(Struct, frozen=True, kw_only=True):
    """What became of writing to the Node so far."""

    results: Mapping[PublishResult, int]
    """Writes that worked and failed, and rounds without one because nothing had changed."""
    last_success: float | None
    """Seconds since the epoch; None before the first."""


class ReportCollector(Collector):
    """Hands to each scrape what *snapshot* gives at that moment: the effective Report, and how publishing goes.

    A Report of None is none yet, or one of another boot; Publishing of None, that nothing is published.
    """

    def __init__(self, snapshot: Callable[[], tuple[Report | None, Publishing | None]]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """All metric families, of one snapshot."""
        return families(*self._snapshot())


def render_prom(report: Report) -> str:
    """The Report in the text format of Prometheus, also for node_exporter's textfile collector."""
    return render_metrics(report, None, generate_latest)


def render_metrics(
    report: Report | None, publishing: Publishing | None, generate: Callable[[CollectorRegistry], bytes]
) -> str:
    """All families in the text format of *generate*, one of prometheus_client's two."""
    registry = CollectorRegistry()
    registry.register(ReportCollector(lambda: (report, publishing)))
    return generate(registry).decode()


def families(report: Report | None, publishing: Publishing | None = None) -> Iterator[Metric]:
    """Every family that has a sample now."""
    yield _gauge(
        "build_info", "Always 1; the version of userns-probe that says all this.", ["version"], {(__version__,): 1}
    )
    yield from _verdict(report)
    if report is not None:
        yield from _findings(report)
        yield from _node(report)
        yield from _id_slots(report)
        yield from _times(report)
    if publishing is not None:
        yield from _publishing(publishing)


def _verdict(report: Report | None) -> Iterator[Metric]:
    current = report.verdict if report else "unknown"
    yield _gauge(
        "verdict",
        "Whether Pods with hostUsers: false run on this node: 1 for the verdict that holds now, 0 for the others. "
        "It is unknown before the first report of this boot, and once a report has expired.",
        ["verdict"],
        {(verdict,): verdict == current for verdict in _VERDICTS},
    )
    yield _gauge(
        "level_ready",
        "1 when everything of this level and those before it works (stateless, projected, local, volumes), 0 when it "
        "does not, or nobody knows.",
        ["level"],
        {(level,): report is not None and report.levels.get(level) == "ready" for level in LEVELS},
    )


def _findings(report: Report) -> Iterator[Metric]:
    statuses = {finding.id: finding.status for finding in report.findings}
    yield from _some(
        "check_status",
        "What each check found: 0 pass, 1 warn, 2 fail, 3 unknown (could not look), 4 skipped (does not apply here). "
        "`userns-probe explain CHECK` tells what it asks and what to do.",
        ["check"],
        {(check,): STATUS_NUMBERS[statuses[check]] for check in CHECK_IDS if check in statuses},
    )
    yield from _some(
        "filesystem_supported",
        "1 when a live idmapped mount of this kind of file system worked in this role, 0 when the kernel refused one. "
        "Absent when that is unknown.",
        ["role", "fstype"],
        _filesystems(report),
    )
    yield from _some(
        "blocking_reason",
        "Always 1; why the node is not ready, or why that is unknown. Absent when it is ready.",
        ["reason"],
        {(blocking_reason(report),): 1} if report.verdict != "ready" else {},
    )


def _filesystems(report: Report) -> dict[tuple[str, ...], float]:
    answers = [(key, result) for key, result in filesystem_results(report).items() if key[1] and result != "unknown"]
    answers.sort(key=lambda answer: answer[1] != "refused")
    return {key: result == "supported" for key, result in answers[:FILESYSTEMS_LIMIT]}


def _node(report: Report) -> Iterator[Metric]:
    facts = report.facts
    yield from _info("kernel", "the kernel that runs", release=facts.kernel_release, architecture=facts.architecture)
    yield from _info(
        "kubelet", "the kubelet that runs", version=facts.kubelet_version, distribution=facts.kubelet_distribution
    )
    yield from _info(
        "runtime", "the container runtime that runs", name=facts.runtime_name, version=facts.runtime_version
    )
    yield from _some(
        "oci_runtime_info",
        "Always 1; the OCI runtime behind each handler (empty: the default one), whether its own features have "
        "idmapped mounts, and whether the container runtime says that the handler has user namespaces.",
        ["handler", "name", "version", "idmap", "user_namespaces"],
        _oci_runtimes(facts),
    )


def _oci_runtimes(facts: ReportFacts) -> dict[tuple[str, ...], float]:
    words = {True: "true", False: "false", None: "unknown"}
    return {
        (one.handler, one.name, one.version, words[one.idmap], words[one.user_namespaces]): 1
        for one in sorted(facts.oci_runtimes, key=lambda one: one.handler)[:HANDLERS_LIMIT]
    }


def _id_slots(report: Report) -> Iterator[Metric]:
    samples: dict[tuple[str, ...], float] = {}
    for pool in report.id_ranges[:1]:
        samples[("total",)] = pool.slots
        if pool.used is not None:
            samples |= {("used",): pool.used, ("free",): max(0, pool.slots - pool.used)}
    yield from _some(
        "id_slots",
        "Ranges of host IDs that the kubelet can give to Pods with a user namespace, one per Pod: total, used and "
        "free. Used and free are absent when the kubelet's records could not be read.",
        ["state"],
        samples,
    )


def _times(report: Report) -> Iterator[Metric]:
    for name, meaning, value in (
        ("last_probe_timestamp_seconds", "When the last probe began, in Unix time.", parse_time(report.probed_at)),
        ("last_probe_duration_seconds", "How long the last probe took.", report.duration_seconds),
        (
            "report_expires_timestamp_seconds",
            "When the last report expires, in Unix time; from then on the verdict is unknown.",
            parse_time(report.expires_at),
        ),
    ):
        yield from _some(name, meaning, [], {} if value is None else {(): value})


def _publishing(publishing: Publishing) -> Iterator[Metric]:
    counter = CounterMetricFamily(
        f"{PREFIX}publish",
        "Rounds of publishing to the Node: success (written), error (refused, or the API server was out of reach), "
        "skipped (nothing had changed).",
        labels=["result"],
    )
    for result in PUBLISH_RESULTS:
        counter.add_metric([result], publishing.results.get(result, 0))
    yield counter
    last = publishing.last_success
    meaning = "When the Node was last written successfully, in Unix time."
    yield from _some("last_publish_timestamp_seconds", meaning, [], {} if last is None else {(): last})


def _info(what: str, meaning: str, **labels: str) -> Iterator[Metric]:
    """An info metric of value 1; none when none of its labels is known."""
    samples: dict[tuple[str, ...], float] = {tuple(labels.values()): 1} if any(labels.values()) else {}
    yield from _some(f"{what}_info", f"Always 1; {meaning}.", list(labels), samples)


def _some(name: str, meaning: str, labels: Sequence[str], samples: Mapping[tuple[str, ...], float]) -> Iterator[Metric]:
    if samples:
        yield _gauge(name, meaning, labels, samples)


def _gauge(name: str, meaning: str, labels: Sequence[str], samples: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}{name}", meaning, labels=labels)
    unique = {tuple(shown(label, _LABEL_BYTES) for label in key): value for key, value in samples.items()}
    for key, value in unique.items():
        family.add_metric(key, float(max(-(1 << 63), min(value, 1 << 63))))
    return family
