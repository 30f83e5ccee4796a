"""Table of remediations by platform, each with the documentation page that it follows."""

from __future__ import annotations

from probe.checks.remedies.kernel_rows import KERNEL
from probe.checks.remedies.kubelet_rows import KUBELET
from probe.checks.remedies.row import Remediation
from probe.checks.remedies.runtime_rows import RUNTIME
from probe.checks.remedies.unknown_rows import UNKNOWN

__all__ = ["REMEDIATIONS", "Remediation", "fitting", "remediations_of"]

REMEDIATIONS: tuple[Remediation, ...] = (*UNKNOWN, *KERNEL, *KUBELET, *RUNTIME)


def fitting(check: str, reason: str, platforms: tuple[str, ...] = ()) -> Remediation | None:
    """Row for *reason* of the first of *platforms* that has one; else the row for all platforms."""
    rows = [row for row in REMEDIATIONS if row.check in (check, "") and row.reason == reason]
    return next((row for platform in (*platforms, "") for row in rows if row.platform == platform), None)


def remediations_of(check: str) -> tuple[Remediation, ...]:
    """All rows of one check."""
    return tuple(row for row in REMEDIATIONS if row.check == check)
