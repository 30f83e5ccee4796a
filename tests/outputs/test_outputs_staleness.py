"""A report says nothing of another boot, and after its time nothing but unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.reports import REPORTS
from probe.outputs.staleness import LONGEST, effective, expired, foreign, lifetime, parse_time
from probe.report import Node, Report
from tests.outputs.test_outputs_terminal import evil, hostile_reports

READY = REPORTS["ready"]
BOOT = READY.node.boot_id


def at(age: float, report: Report = READY) -> Report | None:
    return effective(report, age=age, boot_id=BOOT, node_name="node-1")


@pytest.mark.parametrize("age", [0, 1, 899.9])
def test_within_its_time_it_is_itself(age: float) -> None:
    """Nothing is changed in a report that holds."""
    assert at(age) is READY


@pytest.mark.parametrize("age", [900, 900.1, 1e9, float("inf"), float("nan")])
def test_after_its_time_nobody_knows(age: float) -> None:
    """From the moment on at which it expires; an age that is not a number counts as too old."""
    report = at(age)
    assert report
    assert (report.verdict, report.reason) == ("unknown", "ReportStale")


@pytest.mark.slow
@given(hostile_reports())
def test_an_expired_report_claims_nothing(report: Report) -> None:
    """Whatever it said: no level, handler, finding, file system, volume or forecast says more than unknown."""
    old = expired(report)
    assert old.verdict == "unknown"
    assert set(old.levels.values()) <= {"unknown"}
    assert {handler.verdict for handler in old.handlers} <= {"unknown"}
    assert {finding.status for finding in old.findings} <= {"unknown"}
    assert {row.result for row in (*old.filesystems, *old.volumes)} <= {"unknown"}
    assert {row.usable for row in (*old.filesystems, *old.volumes)} <= {None}
    assert old.nested is None
    assert old.forecast is None or old.forecast.outcome == "unknown"
    assert not [each for each in old.id_ranges if each.used is not None]
    assert (old.node, old.probed_at, old.expires_at, old.facts) == (
        report.node,
        report.probed_at,
        report.expires_at,
        report.facts,
    )
    assert expired(old) == old


@given(
    st.floats(0, 1e12), st.floats(0, 1e12), st.sampled_from(list(REPORTS.values())), st.sampled_from([BOOT, "", "x"])
)
def test_age_never_brings_a_verdict_back(age: float, more: float, report: Report, boot_id: str) -> None:
    """What has expired stays so, and what is absent stays absent, however much older it gets."""
    young, old = (effective(report, age=each, boot_id=boot_id, node_name=None) for each in (age, age + more))
    assert (young is None) == (old is None)
    if young is not None and young.reason == "ReportStale":
        assert old == young


@given(evil, evil, st.floats(allow_nan=True))
def test_hostile_times_never_prolong_it(probed_at: str, expires_at: str, age: float) -> None:
    """Times that make no sense make a report stale at once; none keeps it alive for more than three days."""
    for report in (replace(READY, probed_at=probed_at), replace(READY, expires_at=expires_at)):
        assert 0 <= lifetime(report) <= LONGEST
        if not age < LONGEST:
            assert at(age, report) is not report


@pytest.mark.parametrize(
    ("expires_at", "seconds"),
    [
        ("2026-11-21T21:45:00Z", 900),
        ("2026-11-21T23:45:00+02:00", 900),
        ("2026-11-21T21:30:00Z", 0),
        ("2026-11-21T21:00:00Z", 0),
        ("2026-11-21T21:45:00", 0),
        ("9998-11-21T21:45:00Z", LONGEST),
        ("", 0),
        ("soon", 0),
    ],
)
def test_lifetime(expires_at: str, seconds: float) -> None:
    """From the probe to the end that was promised, if both are times with a zone, and at most three days."""
    assert lifetime(replace(READY, expires_at=expires_at)) == seconds


@pytest.mark.parametrize("boot_id", ["", "another"])
def test_another_boot_is_absent(boot_id: str) -> None:
    """A report from before a reboot says nothing of now; nor does one that cannot tell its boot."""
    assert effective(READY, age=0, boot_id=boot_id, node_name=None) is None
    blank = replace(READY, node=Node(name="node-1", boot_id="", distribution=""))
    assert effective(blank, age=0, boot_id=boot_id, node_name=None) is None


@pytest.mark.parametrize(
    ("written", "expected", "absent"),
    [("node-1", "node-1", False), ("node-1", None, False), (None, "node-1", False), ("node-1", "node-2", True)],
)
def test_another_node_is_absent(written: str | None, expected: str | None, absent: bool) -> None:
    """Names are compared where both sides have one."""
    report = replace(READY, node=replace(READY.node, name=written))
    assert bool(foreign(report, boot_id=BOOT, node_name=expected)) == absent
    assert (effective(report, age=0, boot_id=BOOT, node_name=expected) is None) == absent


def test_a_time_is_seconds_since_the_epoch() -> None:
    """Whatever zone it is written in."""
    assert parse_time("2026-11-21T21:30:00Z") == parse_time("2026-11-21T22:30:00+01:00") == 1795296600


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-06-01T00:00:00Z", 13_046_400),
        ("1969-12-31T23:59:59Z", None),
        ("1970-01-01T00:30:00+01:00", None),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
        ("9999-12-31T23:59:59-01:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("2026-11-21T21:30:00", None),
    ],
)
def test_times_from_1970_to_9999(text: str, seconds: int | None) -> None:
    """A node whose clock has stood in 1970 since it booted writes reports, too; ages come from the time since boot."""
    assert parse_time(text) == seconds


@given(evil)
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    """A time or None."""
    assert parse_time(text) is None or isinstance(parse_time(text), float)
