"""The verdict from findings: ready, not ready or unknown, its reason, and the result of each level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from probe.finding import Finding
from probe.terms import LEVELS

Verdict = Literal["ready", "not-ready", "unknown"]


class Conclusion(Struct, frozen=True, kw_only=True):
    """The answer of the whole probe."""

    verdict: Verdict
    reason: str
    """Of the first failing finding, gating ones first, else of the first unknown gating one; empty when ready."""
    message: str
    levels: dict[str, Verdict]


def conclude(findings: Sequence[Finding]) -> Conclusion:
    """Any `fail` below the level `volumes`: not ready; else any gating `unknown`: unknown; else ready.

    A `fail` means that every Pod of its level fails here, so a `fail` of any check decides. A `warn` counts as a
    `pass`.
    """
    found = decisive(findings)
    return Conclusion(
        verdict=_verdict(found),
        reason=found.reason if found else "",
        message=found.message if found else "Pods with hostUsers: false run on this node",
        levels={
            level: _verdict(_decisive([f for f in findings if LEVELS.index(f.level) <= index]))
            for index, level in enumerate(LEVELS)
        },
    )


def decisive(findings: Sequence[Finding]) -> Finding | None:
    """The finding that decides the node's verdict; None when it is ready. Volumes decide their own level only."""
    return _decisive([finding for finding in findings if finding.level != "volumes"])


def _decisive(findings: Sequence[Finding]) -> Finding | None:
    """The first failure, else the first unknown that counts. A gating check names the cause that a trial only meets."""
    failed = sorted((finding for finding in findings if finding.status == "fail"), key=lambda one: not one.gating)
    unknown = (finding for finding in findings if finding.status == "unknown" and _counts_unknown(finding))
    return next(iter(failed), None) or next(unknown, None)


def _counts_unknown(finding: Finding) -> bool:
    """True for an unknown of a gating check, or of the volumes check, the only one of its level."""
    return finding.gating or finding.level == "volumes"


def _verdict(decisive: Finding | None) -> Verdict:
    if decisive is None:
        return "ready"
    return "not-ready" if decisive.status == "fail" else "unknown"
