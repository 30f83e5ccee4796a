"""Lookup of the remediation of a finding."""

from __future__ import annotations

import re

from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.platforms import kubelet_unit, platforms_of, runtime_unit
from probe.checks.remedies.table import fitting
from probe.facts.model import Facts

_UNIT = re.compile(r"(systemctl restart|journalctl -u) kubelet\b")
_RUNTIME_UNIT = re.compile(r"(systemctl restart|journalctl -u) (?:containerd|crio)\b")


def remediation_of(check: str, reason: str, facts: Facts, found: str = "") -> str:
    """Remediation on this node for *reason* of *check*; the reason of a warning is empty.

    In this order: *found*, the specific text of the check; the row of the table for the node's platform, then for all
    platforms; the generic text of the check.
    """
    row = fitting(check, reason, platforms_of(facts))
    text = found or _UNIT.sub(rf"\1 {kubelet_unit(facts)}", row.text if row else GENERIC[check])
    unit = runtime_unit(facts)
    return _RUNTIME_UNIT.sub(rf"\1 {unit}", text) if unit else text
