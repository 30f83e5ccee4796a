"""The one lookup of what to do about a finding."""

from __future__ import annotations

import re

from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.platforms import kubelet_unit, platforms_of
from probe.checks.remedies.table import fitting
from probe.facts.model import Facts

_UNIT = re.compile(r"(systemctl restart|journalctl -u) kubelet\b")


def remedy(check: str, reason: str, facts: Facts, found: str = "") -> str:
    """What to do on this node about that reason of a check; the reason is empty for a warning.

    In this order: *found*, what the check worked out from the facts of this node; the row of the table for the node's
    platform, else for all platforms; what holds for the check whatever it found.
    """
    row = fitting(check, reason, platforms_of(facts))
    return found or _UNIT.sub(rf"\1 {kubelet_unit(facts)}", row.text if row else GENERIC[check])
