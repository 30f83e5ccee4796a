"""Table of remediations by platform, each with the documentation page that it follows, and their lookup."""

from __future__ import annotations

import re

from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.kernel_rows import KERNEL
from probe.checks.remedies.kubelet_rows import KUBELET
from probe.checks.remedies.platforms import kubelet_unit, platforms_of, runtime_unit
from probe.checks.remedies.row import Remediation
from probe.checks.remedies.runtime_rows import RUNTIME
from probe.checks.remedies.unknown_rows import UNKNOWN
from probe.facts.model import Facts

__all__ = ["REMEDIATIONS", "Remediation", "fitting", "remediation_of", "remediations_of"]

REMEDIATIONS: tuple[Remediation, ...] = (*UNKNOWN, *KERNEL, *KUBELET, *RUNTIME)


def fitting(check: str, reason: str, platforms: tuple[str, ...] = ()) -> Remediation | None:
    """Row for *reason* of the first of *platforms* that has one; else the row for all platforms."""
    rows = [row for row in REMEDIATIONS if row.check in (check, "") and row.reason == reason]
    return next((row for platform in (*platforms, "") for row in rows if row.platform == platform), None)


def remediations_of(check: str) -> tuple[Remediation, ...]:
    """All rows of one check."""
    return tuple(row for row in REMEDIATIONS if row.check == check)


_UNIT = re.compile(r"(systemctl (?:restart|edit)|journalctl -u) kubelet\b")
_RUNTIME_UNIT = re.compile(
    r"(systemctl (?:restart|edit|show|cat)|journalctl -u) (?:containerd(?: -u crio| crio)?|crio)\b"
)


def remediation_of(check: str, reason: str, facts: Facts, found: str = "") -> str:
    """Remediation on this node for *reason* of *check*; the reason of a warning is empty.

    In this order: *found*, the specific text of the check; the row of the table for the node's platform, then for all
    platforms; the generic text of the check.
    """
    row = fitting(check, reason, platforms_of(facts))
    text = found or _UNIT.sub(rf"\1 {kubelet_unit(facts)}", row.text if row else GENERIC[check])
    unit = runtime_unit(facts)
    return _RUNTIME_UNIT.sub(rf"\1 {unit}", text) if unit else text
