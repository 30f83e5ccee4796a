"""Types of a finding: what the Report carries of each check."""

from __future__ import annotations

from msgspec import Struct

from probe.terms import Level, Status

TEXT_LIMIT = 4000
"""Characters of a message or a piece of evidence: a program may have printed a mebibyte."""
EVIDENCE_LIMIT = 250
"""Pieces of evidence of one finding."""


class Evidence(Struct, frozen=True, omit_defaults=True):
    """One thing that was seen, or could not be seen, and where."""

    source: str
    value: str = ""
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.source}: {self.problem or self.value}"


class Finding(Struct, frozen=True, kw_only=True):
    """One check's outcome, as the Report carries it."""

    id: str
    level: Level
    gating: bool
    status: Status
    reason: str
    message: str
    remediation: str
    """Empty when nothing needs to be done."""
    documentation: str
    evidence: tuple[Evidence, ...]


def clipped(text: str) -> str:
    """*text*, of which no more than TEXT_LIMIT characters reach a Report."""
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]} (and {len(text) - TEXT_LIMIT} more characters)"
