"""Table of remediations by platform, each with the documentation page that it follows."""

from __future__ import annotations

from probe.checks.remedies.kernel_rows import KERNEL
from probe.checks.remedies.kubelet_rows import KUBELET
from probe.checks.remedies.row import Remedy
from probe.checks.remedies.runtime_rows import RUNTIME
from probe.checks.remedies.unknown_rows import UNKNOWN

__all__ = ["REMEDIES", "Remedy", "fitting", "remedies_of"]

REMEDIES: tuple[Remedy, ...] = (*UNKNOWN, *KERNEL, *KUBELET, *RUNTIME)


def fitting(check: str, reason: str, platforms: tuple[str, ...] = ()) -> Remedy | None:
    """Row for *reason* of the first of *platforms* that has one; else the row for all platforms."""
    rows = [row for row in REMEDIES if row.check in (check, "") and row.reason == reason]
    return next((row for platform in (*platforms, "") for row in rows if row.platform == platform), None)


def remedies_of(check: str) -> tuple[Remedy, ...]:
    """All rows of one check."""
    return tuple(row for row in REMEDIES if row.check == check)
