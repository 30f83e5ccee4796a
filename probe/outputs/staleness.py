"""The rule for which reports count: none of another boot or node, and none past its expiry.

Reports carry wall-clock times, and wall clocks jump. So callers give the age of a report, by the clock of the boot that
it is from: CLOCK_BOOTTIME only runs forward, and counts suspends.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import UNSET
from msgspec.structs import replace

from probe.report import Report

STALE = "ReportStale"
MESSAGE = "the last report expired, and no newer one was written"
REMEDIATION = "See the log of the container probe, or of userns-probe watch."
LONGEST = 3 * 86400.0
"""Seconds: no report lives longer, whatever it says; it is three of the longest intervals that can be chosen."""

CONFIRMATION = ("confirmed_at", "expires_at")
"""The fields that `watch` renews in its report while nothing changes."""

_LASTING = tuple(name for name in Report.__struct_fields__ if name not in CONFIRMATION)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_10000 = 253_402_300_800.0
"""Seconds since the epoch."""


def parse_time(text: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 time, or None when it is none, or lies outside of 1970 to 9999."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    seconds = (moment - _EPOCH).total_seconds()  # astimezone() would overflow at both ends of the calendar
    return seconds if 0 <= seconds < _YEAR_10000 else None


def foreign(report: Report, *, boot_id: str, node_name: str | None) -> str:
    """The reason why *report* is not of this node and this boot; empty when it is.

    A name is compared where both sides have one; the boot id, which no two nodes share, always.
    """
    if not report.node.boot_id or report.node.boot_id != boot_id:
        return "the last report is of another boot, or another node"
    if node_name and report.node.name and report.node.name != node_name:
        return f"the last report is of the node {report.node.name}, not of {node_name}"
    return ""


def effective(report: Report, *, age: float, boot_id: str, node_name: str | None) -> Report | None:
    """The report that counts when *report* is *age* seconds old: itself, the expired one, or None if it is foreign.

    It lives for `expires_at` - `probed_at`. `watch` moves `expires_at` on while nothing changes and no clock is set.
    """
    if foreign(report, boot_id=boot_id, node_name=node_name):
        return None
    return report if age < lifetime(report) else expired(report)


def is_fresh(report: Report, now: float) -> bool:
    """True when *report* counts at *now*, seconds since the epoch by a clock that need not be its node's."""
    probed_at = parse_time(report.probed_at)
    return probed_at is not None and abs(now - probed_at) < lifetime(report)


def lifetime(report: Report) -> float:
    """Seconds from probe to expiry; 0 when the times of *report* make no sense."""
    probed_at, expires_at = parse_time(report.probed_at), parse_time(report.expires_at)
    if probed_at is None or expires_at is None:
        return 0.0
    return min(max(0.0, expires_at - probed_at), LONGEST)


def confirmed(report: Report, *, confirmed_at: str | None, expires_at: str) -> Report:
    """The same report, confirmed."""
    return replace(report, confirmed_at=confirmed_at, expires_at=expires_at)


def is_confirmed(before: Report | None, after: Report | None) -> bool:
    """True when *after* is *before*, or was made of it by `confirmed`: all other fields are the same objects."""
    if before is None or after is None:
        return before is after
    return all(getattr(before, name) is getattr(after, name) for name in _LASTING)


def expired(report: Report) -> Report:
    """The same report with every answer turned to unknown."""
    return replace(
        report,
        verdict="unknown",
        reason=STALE,
        message=MESSAGE,
        since=None,
        previous=None,
        levels=dict.fromkeys(report.levels, "unknown"),
        handlers=tuple(
            replace(handler, verdict="unknown", reason=STALE, levels=dict.fromkeys(handler.levels, "unknown"))
            for handler in report.handlers
        ),
        findings=tuple(
            replace(one, status="unknown", reason=STALE, message=MESSAGE, remediation=REMEDIATION, evidence=())
            for one in report.findings
        ),
        filesystems=tuple(
            replace(row, result="unknown", usable=None, reason=MESSAGE, step="", errno="", expected=UNSET)
            for row in report.filesystems
        ),
        volumes=tuple(
            replace(row, result="unknown", usable=None, reason=MESSAGE, expected="") for row in report.volumes
        ),
        id_ranges=tuple(replace(each, used=None) for each in report.id_ranges),
        forecast=report.forecast and replace(report.forecast, outcome="unknown", reason=STALE, message=MESSAGE),
        forecasts=(),
        contradictions=(),
        nested=None,
        devices=(),
    )
