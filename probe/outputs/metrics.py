"""The Report for Prometheus, at most 120 series whatever the node holds.

Label values are closed lists (labels.py), or names from the node's own software: at most 64 visible characters, of
file systems the first 10 (refused ones first), of handlers the default one and the next 5 by name. No label has a path,
a Pod or a volume. An unknown value has no series; only the verdict always has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from probe import __version__
from probe.outputs.exposition import Collector, Metric, gauge, generate_text, info, some
from probe.outputs.labels import CHECK_IDS, blocking_reason, filesystem_results
from probe.outputs.publishing import Publishing, publishing_families
from probe.outputs.staleness import STALE, is_confirmed, parse_time
from probe.report import Report, ReportFacts
from probe.terms import LEVELS, Status
from probe.verdict import Verdict

SERIES_LIMIT = 120
FILESYSTEMS_LIMIT = 10
HANDLERS_LIMIT = 6
STATUS_NUMBERS: dict[Status, int] = {"skipped": -1, "pass": 0, "warn": 1, "unknown": 2, "fail": 3}
"""The worst is the largest, so that `max` finds it."""

_END = "# EOF\n"  # of OpenMetrics
_VERDICTS: tuple[Verdict, ...] = ("ready", "not-ready", "unknown")


class ReportCollector(Collector):
    """Metrics of the effective Report and of publishing, as *snapshot* returns them at each scrape.

    Report is None before the first one of this boot; Publishing is None if nothing is published. *node_name*: the name
    of the Node, for as long as no report tells it.
    """

    def __init__(
        self, snapshot: Callable[[], tuple[Report | None, Publishing | None]], node_name: str | None = None
    ) -> None:
        self._snapshot, self._node_name = snapshot, node_name

    def collect(self) -> Iterator[Metric]:
        """All metric families, of one snapshot."""
        return families(*self._snapshot(), self._node_name)


def render_prom(report: Report) -> str:
    """The Report in the text format of Prometheus, also for node_exporter's textfile collector."""
    return render_metrics(report, None, generate_text)


def render_metrics(
    report: Report | None,
    publishing: Publishing | None,
    generate: Callable[[Collector], bytes],
    node_name: str | None = None,
) -> str:
    """All families in the text format of *generate*: `generate_text` or `generate_openmetrics`."""
    return MetricsText(generate, node_name).of(report, publishing)


class MetricsText:
    """The text of all families, of which a report that is only confirmed changes the end."""

    def __init__(self, generate: Callable[[Collector], bytes], node_name: str | None = None) -> None:
        """*generate*: `generate_text` or `generate_openmetrics`; *node_name* as for ReportCollector."""
        self._generate, self._node_name = generate, node_name
        self._report: Report | None = None
        self._beginning = ""

    def of(self, report: Report | None, publishing: Publishing | None) -> str:
        """All families of *report* and *publishing*."""
        if not self._beginning or not is_confirmed(self._report, report):
            text = self._generate(_Given(_lasting(report, self._node_name))).decode()
            self._beginning, self._report = text.removesuffix(_END), report
        return self._beginning + self._generate(_Given(_moving(report, publishing))).decode()


class _Given(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def families(
    report: Report | None, publishing: Publishing | None = None, node_name: str | None = None
) -> Iterator[Metric]:
    """Every family that has a sample now."""
    yield from _lasting(report, node_name)
    yield from _moving(report, publishing)


def _lasting(report: Report | None, node_name: str | None) -> Iterator[Metric]:
    """The families that stay as they are while `watch` confirms the report."""
    name = (report and report.node.name) or node_name or ""
    yield gauge("build_info", "Always 1; the version of userns-probe.", ["version"], {(__version__,): 1})
    yield from info("node", "the name of the Node in Kubernetes", node=name)
    yield from _verdict(report)
    if report is not None:
        yield from _levels(report)
        yield from _findings(report)
        yield from _node(report)
        yield from _id_slots(report)
        yield from _nested(report)


def _moving(report: Report | None, publishing: Publishing | None) -> Iterator[Metric]:
    if report is not None:
        yield from _times(report)
    if publishing is not None:
        yield from publishing_families(publishing)


def _verdict(report: Report | None) -> Iterator[Metric]:
    current = report.verdict if report else "unknown"
    yield gauge(
        "verdict",
        "Whether Pods with hostUsers: false run on this node: 1 for the current verdict, 0 for the others. "
        "unknown until this boot has its first report, and after a report expired.",
        ["verdict"],
        {(verdict,): verdict == current for verdict in _VERDICTS},
    )
    yield from some(
        "blocking_reason",
        "Always 1; the reason why the node is not ready or unknown. Absent if it is ready.",
        ["reason"],
        {(blocking_reason(report) if report else STALE,): 1} if current != "ready" else {},
    )


def _levels(report: Report) -> Iterator[Metric]:
    yield from some(
        "level_ready",
        "1 if Pods have everything of this level and those before it (stateless, projected, local, volumes); 0 if not. "
        "Absent if unknown.",
        ["level"],
        _readiness((level, report.levels.get(level, "unknown")) for level in LEVELS),
    )
    handlers = sorted(report.handlers, key=lambda handler: handler.name)[:HANDLERS_LIMIT]
    yield from some(
        "handler_ready",
        "1 if Pods whose RuntimeClass names this handler (empty: the default one) run with hostUsers: false; 0 if not. "
        "Absent if unknown.",
        ["handler"],
        _readiness((handler.name, handler.verdict) for handler in handlers),
    )


def _readiness(verdicts: Iterable[tuple[str, Verdict]]) -> dict[tuple[str, ...], float]:
    return {(name,): verdict == "ready" for name, verdict in verdicts if verdict != "unknown"}


def _findings(report: Report) -> Iterator[Metric]:
    statuses = {finding.id: finding.status for finding in report.findings}
    yield from some(
        "check_status",
        "Status of each check, the worst is the largest: -1 skipped (does not apply here), 0 pass, 1 warn, 2 unknown "
        "(could not look), 3 fail. `userns-probe explain CHECK` has its question and the fix.",
        ["check"],
        {(check,): STATUS_NUMBERS[statuses[check]] for check in CHECK_IDS if check in statuses},
    )
    yield from some(
        "contradiction",
        "Always 1; a check in which a layer claims what a live attempt disproves, or the reverse. Absent without one.",
        ["check"],
        {(check,): 1 for check in CHECK_IDS if check in report.contradictions},
    )
    yield from some(
        "filesystem_supported",
        "1 if an idmapped mount of this type of file system worked in this role, 0 if the kernel refused one. "
        "Absent if unknown.",
        ["role", "fstype"],
        _filesystems(report),
    )


def _filesystems(report: Report) -> dict[tuple[str, ...], float]:
    answers = [(key, result) for key, result in filesystem_results(report).items() if key[1] and result != "unknown"]
    answers.sort(key=lambda answer: answer[1] != "refused")
    return {key: result == "supported" for key, result in answers[:FILESYSTEMS_LIMIT]}


def _nested(report: Report) -> Iterator[Metric]:
    levels = report.nested.levels if report.nested else {}
    yield from some(
        "nested_ready",
        "1 if containers inside a Pod with hostUsers: false work at this level (build, engine, system, rootless, "
        "inner-userns) with the default runtime handler; 0 if not. Absent if unknown.",
        ["level"],
        {(level,): one.verdict == "ready" for level, one in levels.items() if one.verdict != "unknown"},
    )


def _node(report: Report) -> Iterator[Metric]:
    facts = report.facts
    yield from info("kernel", "the running kernel", release=facts.kernel_release, architecture=facts.architecture)
    yield from info(
        "kubelet", "the running kubelet", version=facts.kubelet_version, distribution=facts.kubelet_distribution
    )
    yield from info("runtime", "the running container runtime", name=facts.runtime_name, version=facts.runtime_version)
    yield from some(
        "oci_runtime_info",
        "Always 1; the OCI runtime of each handler (empty: the default one), its own claim of idmapped mounts, and the "
        "container runtime's claim of user namespaces.",
        ["handler", "name", "version", "idmap", "user_namespaces"],
        _oci_runtimes(facts),
    )
    forecast = report.forecast.outcome if report.forecast else "unknown"
    yield from some(
        "kubelet_restart_forecast",
        "1 if the kubelet's next start is expected to succeed, 0 if it is expected to fail. Absent if unknown.",
        [],
        {} if forecast == "unknown" else {(): forecast == "starts"},
    )
    yield from some(
        "forecast_ready",
        "1 if Pods with hostUsers: false are expected to run after the next event of this kind (boot: the node boots; "
        "runtime-restart: the container runtime restarts), 0 if not. Absent if unknown.",
        ["event"],
        _readiness((one.event, one.verdict) for one in report.forecasts),
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
    yield from some(
        "id_slots",
        "Ranges of host IDs for Pods with a user namespace, one per Pod: total, used and free. "
        "used and free are absent if the kubelet's records could not be read.",
        ["state"],
        samples,
    )


def _times(report: Report) -> Iterator[Metric]:
    for name, meaning, value in (
        ("last_probe_timestamp_seconds", "Start of the last probe, in Unix time.", parse_time(report.probed_at)),
        ("last_probe_duration_seconds", "Duration of the last probe.", report.duration_seconds),
        (
            "last_confirmed_timestamp_seconds",
            "Last time at which nothing had changed since the last probe, in Unix time. Absent before the first one.",
            parse_time(report.confirmed_at or ""),
        ),
        (
            "report_expires_timestamp_seconds",
            "Expiry of the last report, in Unix time; the verdict is unknown from then on.",
            parse_time(report.expires_at),
        ),
    ):
        yield from some(name, meaning, [], {} if value is None else {(): value})
