"""Failures that an upgrade of a package or a restart of the network causes for some seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

FLEETING = frozenset(
    (
        "CniPluginMissing",
        "CriServiceMissing",
        "HostsFileMissing",
        "MonitorMissing",
        "NetworkNotConfigured",
        "NetworkNotReady",
        "OciRuntimeMissing",
        "RuntimeNotReady",
        "ShimMissing",
        "SnapshotterNotRunning",
    )
)
"""Reasons that count only when a second probe says them again."""
_NAMES = tuple(reason.encode() for reason in sorted(FLEETING))


def fleeting_reasons(content: bytes) -> frozenset[str]:
    """The fleeting reasons in a report; none in what is not a report."""
    if not any(name in content for name in _NAMES):  # a tenth of the time of reading it
        return frozenset()
    try:
        report = json.loads(content)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(_reasons(report)) & FLEETING if isinstance(report, dict) else frozenset()


def _reasons(report: Mapping[str, object]) -> Iterator[str]:
    for name in ("findings", "handlers"):
        rows = report.get(name)
        for row in rows if isinstance(rows, list) else ():
            reason = row.get("reason") if isinstance(row, dict) else None
            if isinstance(reason, str):
                yield reason
