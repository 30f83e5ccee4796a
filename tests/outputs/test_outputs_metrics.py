"""Metrics: what dashboards and alerts are built on, and no more than a scrape should carry."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from typing import Any, get_args
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from lab.prerequisites import require
from lab.reports import REPORTS, make_facts, make_finding, make_oci_runtime, make_report, make_row
from probe import __version__
from probe.checks.catalog import CHECKS
from probe.nested import NESTED_LEVELS
from probe.outputs.exposition import PREFIX, generate_text
from probe.outputs.labels import CHECK_IDS, FSTYPES, REASONS, ROLES, known_fstype
from probe.outputs.metrics import (
    FILESYSTEMS_LIMIT,
    HANDLERS_LIMIT,
    SERIES_LIMIT,
    STATUS_NUMBERS,
    ReportCollector,
    families,
    render_metrics,
    render_prom,
)
from probe.outputs.publishing import PUBLISH_RESULTS, Publishing
from probe.outputs.staleness import expired
from probe.report import HandlerVerdict, Report
from probe.terms import LEVELS, Status, UnknownReason
from tests.outputs.test_outputs_terminal import evil, hostile_reports

PUBLISHING = Publishing(results={"success": 3, "error": 1}, last_success=1795296600.5)


def series(
    report: Report | None, publishing: Publishing | None = None, node_name: str | None = None
) -> dict[tuple[str, tuple[str, ...]], float]:
    """Name without prefix and values of labels, by their names' order -> value."""
    samples = [sample for family in families(report, publishing, node_name) for sample in family.samples]
    found = {
        (one.name.removeprefix(PREFIX), tuple(value for _, value in sorted(one.labels.items()))): one.value
        for one in samples
    }
    assert len(found) == len(samples), "a series comes twice"
    return found


def values(report: Report | None, name: str, publishing: Publishing | None = None) -> dict[Any, float]:
    """Label values, or the only one of them -> value."""
    found = {labels: value for (own, labels), value in series(report, publishing).items() if own == name}
    return {labels[0] if len(labels) == 1 else labels: value for labels, value in found.items()}


def test_the_closed_lists_are_those_of_the_catalog() -> None:
    """No check and no reason is missing from the labels, and none is there that no check has."""
    assert tuple(check.id for check in CHECKS) == CHECK_IDS
    assert {reason for check in CHECKS for reason in check.reasons} | {*get_args(UnknownReason)} == REASONS


@pytest.mark.parametrize("name", REPORTS)
def test_the_verdict_is_a_state_set(name: str) -> None:
    """All three words are there, and exactly the right one is 1."""
    found = values(REPORTS[name], "verdict")
    assert found == {word: word == REPORTS[name].verdict for word in ("ready", "not-ready", "unknown")}


def test_without_a_report_all_is_unknown() -> None:
    """Before the first report nothing claims anything, and the verdict can still be alerted on."""
    found = series(None)
    assert values(None, "verdict") == {"ready": 0, "not-ready": 0, "unknown": 1}
    assert values(None, "blocking_reason") == {"ReportStale": 1}
    assert {name for name, _ in found} == {"build_info", "verdict", "blocking_reason"}
    assert found[("build_info", (__version__,))] == 1


def test_the_name_of_the_node() -> None:
    """Told by the report, else by the option; none is made up."""
    named, unnamed = REPORTS["ready"], REPORTS["no-kubelet"]
    for report, option, expected in (
        (named, "other", "node-1"),
        (unnamed, "other", "other"),
        (None, "other", "other"),
        (unnamed, None, None),
        (None, None, None),
    ):
        found = [labels for (name, labels) in series(report, None, option) if name == "node_info"]
        assert found == ([(expected,)] if expected else [])


def test_levels() -> None:
    """1 for what works, 0 for what does not, and nothing for what nobody knows."""
    assert values(REPORTS["tmpfs-refused"], "level_ready") == {"stateless": 1, "projected": 0, "local": 0, "volumes": 0}
    assert values(REPORTS["no-kubelet"], "level_ready") == {}
    assert values(REPORTS["hung-mount"], "level_ready") == {"stateless": 1, "projected": 1, "local": 1}


def test_handlers() -> None:
    """Each has its own answer; the default one is the empty name; one that nobody knows has none."""
    report = REPORTS["several-handlers"]
    assert values(report, "handler_ready") == {"": 1, "crun": 1, "kata": 0, "oldrunc": 0, "runc": 1}
    unknown = tuple(replace(one, verdict="unknown") if one.name == "crun" else one for one in report.handlers)
    assert "crun" not in values(replace(report, handlers=unknown), "handler_ready")
    many = tuple(replace(report.handlers[0], name=name) for name in ("z", "y", "x", "c", "b", "a", ""))
    assert [*values(replace(report, handlers=many), "handler_ready")] == ["", "a", "b", "c", "x", "y"]


def test_the_forecast_of_the_kubelet() -> None:
    """1 or 0 for what is foretold, nothing for what is not."""
    report = REPORTS["ready"]
    assert report.forecast
    for outcome, expected in (("starts", {(): 1}), ("fails", {(): 0}), ("unknown", {})):
        forecast = replace(report.forecast, outcome=outcome)
        assert values(replace(report, forecast=forecast), "kubelet_restart_forecast") == expected
    assert values(REPORTS["no-kubelet"], "kubelet_restart_forecast") == {}


def test_contradictions() -> None:
    """One series for each check of the catalogue that is one, and for no other."""
    report = replace(REPORTS["ready"], contradictions=("runtime-kernel-claim", "pod-trial", "made-up"))
    assert values(report, "contradiction") == {"runtime-kernel-claim": 1, "pod-trial": 1}
    assert values(REPORTS["ready"], "contradiction") == {}


def test_the_worst_status_is_the_largest() -> None:
    """max() over checks and nodes finds what is worst."""
    order: list[Status] = ["skipped", "pass", "warn", "unknown", "fail"]
    assert sorted(STATUS_NUMBERS, key=STATUS_NUMBERS.__getitem__) == order


@pytest.mark.parametrize("status", STATUS_NUMBERS)
def test_each_status_has_the_number_that_help_tells(status: Status) -> None:
    """The numbers of check_status are documented where they are read."""
    report = make_report(make_finding(status=status))
    assert values(report, "check_status")["kernel-user-namespaces"] == STATUS_NUMBERS[status]
    help_text = re.search(r"# HELP userns_probe_check_status (.*)", render_prom(report))
    assert help_text
    assert f"{STATUS_NUMBERS[status]} {status}" in help_text[1]


def test_unknown_checks_are_left_out() -> None:
    """Only ids of the catalogue become label values."""
    assert "made-up" not in values(make_report(make_finding(id="made-up")), "check_status")


def test_file_systems_by_the_worst() -> None:
    """One refused volume among many makes its kind 0; one unknown among supported ones makes it absent."""
    rows = (
        make_row(role="volume", fstype="ext4"),
        make_row(role="volume", fstype="ext4", result="unknown", usable=None),
        make_row(role="volume", fstype="xfs"),
        make_row(role="volume", fstype="xfs", result="unknown", usable=None),
        make_row(role="volume", fstype="xfs", result="refused"),
        make_row(role="volume", fstype="fuse.sshfs", result="refused"),
        make_row(role="volume", fstype="evil\nfs"),
        make_row(role="kubelet-root", fstype="ext4"),
    )
    assert values(make_report(filesystems=rows), "filesystem_supported") == {
        ("fuse", "volume"): 0,
        ("xfs", "volume"): 0,
        ("ext4", "kubelet-root"): 1,
        ("other", "volume"): 1,
    }


def test_the_reason() -> None:
    """One series, of the closed list; none when ready."""
    assert values(REPORTS["tmpfs-refused"], "blocking_reason") == {"TmpfsNotIdmappable": 1}
    assert values(REPORTS["ready"], "blocking_reason") == {}
    assert values(replace(REPORTS["no-kubelet"], reason="Made\nUp"), "blocking_reason") == {"Other": 1}


def test_slots() -> None:
    """Used and free are absent when nobody knows them; a range that shrank below what is used has none free."""
    report = REPORTS["ready"]
    pool = report.id_ranges[0]
    assert values(report, "id_slots") == {"total": 65535, "used": 2, "free": 65533}
    assert values(replace(report, id_ranges=(replace(pool, used=None),)), "id_slots") == {"total": 65535}
    assert values(replace(report, id_ranges=(replace(pool, slots=1, used=2),)), "id_slots")["free"] == 0
    assert values(replace(report, id_ranges=()), "id_slots") == {}


def test_what_is_not_known_has_no_series() -> None:
    """No info metric without a label, no time that could not be read."""
    facts = make_facts(
        kernel_release="", architecture="", kubelet_version="", kubelet_distribution="", runtime_name="",
        runtime_version="", oci_runtimes=(),
    )  # fmt: skip
    names = {name for name, _ in series(make_report(facts=facts, probed_at="yesterday"))}
    assert not [name for name in names if name.endswith("_info") and name not in ("build_info", "node_info")]
    assert "last_probe_timestamp_seconds" not in names
    assert "last_probe_duration_seconds" in names


def test_an_expired_report_claims_nothing() -> None:
    """Nothing ready, nothing passed, nothing supported; when it was made remains."""
    found = series(expired(REPORTS["ready"]))
    assert found[("verdict", ("unknown",))] == 1
    assert found[("blocking_reason", ("ReportStale",))] == 1
    assert {value for (name, _), value in found.items() if name == "check_status"} == {STATUS_NUMBERS["unknown"]}
    assert not [name for name, _ in found if name in ("filesystem_supported", "level_ready", "handler_ready")]
    assert {labels for name, labels in found if name == "id_slots"} == {("total",)}
    assert found[("last_probe_timestamp_seconds", ())] == 1795296600


def test_publishing() -> None:
    """Every result is there from the start, so that rates work; without publishing none is."""
    assert values(None, "publish_total", PUBLISHING) == {"success": 3, "error": 1, "skipped": 0}
    assert values(None, "last_publish_timestamp_seconds", PUBLISHING) == {(): 1795296600.5}
    never = Publishing(results={}, last_success=None)
    assert values(None, "publish_total", never) == dict.fromkeys(PUBLISH_RESULTS, 0)
    assert values(None, "last_publish_timestamp_seconds", never) == {}
    assert values(None, "publish_total") == {}


def test_a_scrape_reads_one_snapshot() -> None:
    """The collector asks once for each scrape, and says what it was given then."""
    snapshots = iter([(None, None), (REPORTS["ready"], PUBLISHING)])
    registry = CollectorRegistry()
    registry.register(ReportCollector(lambda: next(snapshots)))
    read = [{sample.name for family in registry.collect() for sample in family.samples} for _ in range(2)]
    assert f"{PREFIX}publish_total" not in read[0]
    assert f"{PREFIX}publish_total" in read[1]


def theirs(report: Report | None, publishing: Publishing | None = None) -> str:
    """The text format as prometheus_client writes it."""
    registry = CollectorRegistry()
    registry.register(ReportCollector(lambda: (report, publishing)))
    return generate_latest(registry).decode()


@pytest.mark.parametrize("name", REPORTS)
def test_the_text_format_is_that_of_prometheus_client(name: str) -> None:
    """Byte for byte, with counters and without a report, too."""
    assert render_metrics(REPORTS[name], PUBLISHING, generate_text) == theirs(REPORTS[name], PUBLISHING)
    assert render_metrics(None, None, generate_text) == theirs(None)


def test_the_text_format_escapes_as_prometheus_client_does() -> None:
    """Backslash, quotation mark and line feed, in help and labels; values from zero to infinity."""
    family = GaugeMetricFamily("g", 'a\\b "c"\nd', labels=["z", "a"])
    for value in (0.0, -1.5, 1e21, math.inf, math.nan):
        family.add_metric(['a\\b "c"\nd', str(value)], value)
    collector = mock.Mock(collect=lambda: iter([family]))
    assert generate_text(collector) == generate_latest(collector)


def worst_case(text: str = "x") -> Report:
    """Every check, two hundred handlers, five hundred volumes of every kind."""
    fstypes = [*sorted(FSTYPES), *(f"{text}{i}" for i in range(100))]
    return make_report(
        *(make_finding(id=check, status="fail", reason="UserNamespacesDisabled") for check in CHECK_IDS),
        *(make_finding(id=f"{text}-{i}") for i in range(100)),
        filesystems=tuple(
            make_row(
                role=ROLES[i % len(ROLES)], fstype=fstypes[i % len(fstypes)], result=("refused", "supported")[i % 2]
            )
            for i in range(500)
        ),
        handlers=tuple(HandlerVerdict(name=f"{text}{i}", verdict="not-ready", reason="") for i in range(200)),
        contradictions=(*(check.id for check in CHECKS if check.contradiction), *(f"{text}-{i}" for i in range(100))),
        confirmed_at="2026-11-21T21:30:00Z",
        facts=make_facts(oci_runtimes=tuple(make_oci_runtime(handler=f"{text}{i}") for i in range(200))),
    )


def test_the_worst_case_stays_within_the_limit() -> None:
    """Whatever a node holds, and with publishing on."""
    found = series(worst_case(), PUBLISHING)
    assert len(found) <= SERIES_LIMIT
    assert len([1 for name, _ in found if name == "filesystem_supported"]) == FILESYSTEMS_LIMIT
    assert len([1 for name, _ in found if name == "oci_runtime_info"]) == HANDLERS_LIMIT
    assert len([1 for name, _ in found if name == "check_status"]) == len(CHECK_IDS)


def test_the_default_handler_is_never_cut_off() -> None:
    """It sorts before all others."""
    runtimes = tuple(make_oci_runtime(handler=name) for name in ("z", "!", "0", "a", "b", "c", "d", ""))
    kept = [labels[0] for labels in values(make_report(facts=make_facts(oci_runtimes=runtimes)), "oci_runtime_info")]
    assert kept[0] == ""


@settings.get_profile("hostile")
@given(hostile_reports(), evil, st.booleans())
def test_hostile_reports(report: Report, text: str, many: bool) -> None:
    """Any report gives valid text that reads back, few series, closed or short label values, no path and no Pod."""
    if many:
        worst = worst_case(text)
        report = replace(
            report,
            findings=worst.findings,
            filesystems=worst.filesystems,
            facts=worst.facts,
            handlers=worst.handlers,
            contradictions=worst.contradictions,
        )
    rendered = render_prom(report)
    assert rendered == theirs(report)
    samples = [one for family in text_string_to_metric_families(rendered) for one in family.samples]
    assert len(samples) + len(PUBLISH_RESULTS) + 1 <= SERIES_LIMIT
    closed = {
        "verdict": {"ready", "not-ready", "unknown"},
        "level": {*LEVELS, *NESTED_LEVELS},
        "check": set(CHECK_IDS),
        "role": set(ROLES),
        "fstype": {*FSTYPES, "other"},
        "reason": {*REASONS, "Other"},
        "state": {"total", "used", "free"},
    }
    for sample in samples:
        for label, value in sample.labels.items():
            assert value in closed.get(label, {value})
            assert len(value.encode()) <= 64
            assert value.isprintable()


@given(st.integers(-(10**400), 10**400))
def test_numbers_of_any_size(number: int) -> None:
    """A number that no float can hold breaks no scrape."""
    report = REPORTS["ready"]
    render_prom(replace(report, id_ranges=(replace(report.id_ranges[0], slots=number, used=number),)))


@pytest.mark.parametrize(
    ("fstype", "known"),
    [("ext4", "ext4"), ("fuse.s3fs", "fuse"), ("fuse", "fuse"), ("fuseblk", "fuseblk"), ("", ""), ("EXT4", "other")],
)
def test_file_system_names_are_closed(fstype: str, known: str) -> None:
    """A FUSE server chooses its own name; it shall not choose ours."""
    assert known_fstype(fstype) == known


@pytest.mark.real
@pytest.mark.program
@pytest.mark.parametrize("name", [*REPORTS, "worst", "expired"])
def test_promtool_finds_nothing(name: str) -> None:
    """Prometheus' own linter has no complaint."""
    promtool = shutil.which("promtool")
    require(promtool, "promtool (package prometheus)")
    report = {**REPORTS, "worst": worst_case(), "expired": expired(REPORTS["ready"])}[name]
    assert promtool
    done = subprocess.run(
        [promtool, "check", "metrics"], input=theirs(report, PUBLISHING).encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
