"""From findings to one verdict, its reason, and what works level by level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from probe.checks.check import LEVELS, Finding

Verdict = Literal["ready", "not-ready", "unknown"]


class Conclusion(Struct, frozen=True, kw_only=True):
    """The answer of the whole probe."""

    verdict: Verdict
    reason: str
    """Of the first failing gating finding in stack order, else of the first unknown one; empty when ready."""
    message: str
    levels: dict[str, Verdict]


def conclude(findings: Sequence[Finding]) -> Conclusion:
    """Any gating `fail`: not ready; else any gating `unknown`: unknown; else ready. A `warn` changes nothing."""
    gating = [finding for finding in findings if finding.gating]
    decisive = _decisive(gating)
    return Conclusion(
        verdict=_verdict(decisive),
        reason=decisive.reason if decisive else "",
        message=decisive.message if decisive else "Pods with hostUsers: false run on this node",
        levels={
            level: _verdict(_decisive([f for f in findings if _counts(f) and LEVELS.index(f.level) <= index]))
            for index, level in enumerate(LEVELS)
        },
    )


def _counts(finding: Finding) -> bool:
    """The file systems of volumes decide their level, though never the node's verdict."""
    return finding.gating or finding.level == "volumes"


def _decisive(findings: Sequence[Finding]) -> Finding | None:
    """The finding that settles the matter: the first failure, else the first unknown."""
    for status in ("fail", "unknown"):
        for finding in findings:
            if finding.status == status:
                return finding
    return None


def _verdict(decisive: Finding | None) -> Verdict:
    if decisive is None:
        return "ready"
    return "not-ready" if decisive.status == "fail" else "unknown"
