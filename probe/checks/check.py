"""Types of a check: its declaration, and the outcome that becomes a finding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from probe.facts.model import Facts
from probe.finding import EVIDENCE_LIMIT, Evidence, clipped
from probe.reading import ProblemKind, Reading
from probe.terms import Level, Status, UnknownReason

_REASON_OF_KIND: dict[ProblemKind, UnknownReason] = {
    "absent": "NotReadable",
    "not-permitted": "NotPermitted",
    "timed-out": "TimedOut",
    "not-readable": "NotReadable",
    "not-tried": "NotTried",
}


class Outcome(Struct, frozen=True, kw_only=True):
    """What a check found."""

    status: Status
    message: str
    """One sentence, without a full stop."""
    reason: str = ""
    """CamelCase. Of a failure one of the check's own reasons; of an unknown an UnknownReason; else empty."""
    evidence: tuple[Evidence, ...] = ()
    remediation: str = ""
    """What the check worked out for this node, by a function of probe.checks.remedies; else the lookup finds it."""
    level: Level | None = None
    """Only where it differs from what the check declares: the first level that this outcome is about."""

    @classmethod
    def passed(cls, message: str, *seen: Reading[Any] | Evidence) -> Outcome:
        """All is well."""
        return cls(status="pass", message=message, evidence=_evidence(seen))

    @classmethod
    def warn(cls, message: str, *seen: Reading[Any] | Evidence, remediation: str = "") -> Outcome:
        """Pods run, but an administrator wants to know this."""
        return cls(status="warn", message=message, evidence=_evidence(seen), remediation=remediation)

    @classmethod
    def fail(
        cls,
        reason: str,
        message: str,
        *seen: Reading[Any] | Evidence,
        remediation: str = "",
        level: Level | None = None,
    ) -> Outcome:
        """Each Pod of the check's level fails on this node. What only some Pods meet is a warning."""
        evidence = _evidence(seen)
        return cls(
            status="fail", reason=reason, message=message, evidence=evidence, remediation=remediation, level=level
        )

    @classmethod
    def skipped(cls, message: str, *seen: Reading[Any] | Evidence) -> Outcome:
        """The question does not arise on this node."""
        return cls(status="skipped", message=message, evidence=_evidence(seen))

    @classmethod
    def unknown(
        cls, kind: ProblemKind | UnknownReason, message: str, *seen: Reading[Any] | Evidence, remediation: str = ""
    ) -> Outcome:
        """Nobody knows, because *message*."""
        reason = _REASON_OF_KIND.get(kind, kind)  # type: ignore[arg-type]
        return cls(status="unknown", reason=reason, message=message, evidence=_evidence(seen), remediation=remediation)

    @classmethod
    def not_read(cls, what: str, reading: Reading[Any], *seen: Reading[Any] | Evidence) -> Outcome:
        """Unknown, because *reading* has a problem."""
        if reading.kind is None:
            raise ValueError(f"{reading.source} was read")
        return cls.unknown(reading.kind, f"{what} is unknown: {reading.source}: {reading.problem}", reading, *seen)


class Check(Struct, frozen=True, kw_only=True):
    """One question to a node, as `userns-probe explain` prints it."""

    id: str
    """The same string in code, report, metrics, README and `explain`."""
    level: Level
    gating: bool
    """Whether its `unknown` decides its level and the verdict, too; a `fail` of any check does."""
    question: str
    why: str
    """What breaks, and for whom, when the answer is no."""
    reasons: tuple[str, ...] = ()
    """Every reason that a failure of it can give; closed."""
    remediation: str
    """What to do, ready to be pasted where that is possible."""
    documentation: str
    """Manual page with section, KEP, specification: where to read on."""
    contradiction: bool = False
    """It compares what a layer claims with what was seen."""
    check: Callable[[Facts], Outcome]
    per_handler: Callable[[Facts, str], Outcome] | None = None
    """The same, of Pods with that runtime handler (CRI's name, empty for the default); None where all get one answer.
    """


def _evidence(seen: tuple[Reading[Any] | Evidence, ...]) -> tuple[Evidence, ...]:
    found = (one if isinstance(one, Evidence) else _evidence_of(one) for one in seen[:EVIDENCE_LIMIT])
    return tuple(dict.fromkeys(Evidence(*map(clipped, (one.source, one.value, one.problem))) for one in found))


def _evidence_of(reading: Reading[Any]) -> Evidence:
    if reading.value is None:
        return Evidence(reading.source, "", reading.problem)
    return Evidence(reading.source, _text(reading.value))


def _text(value: object) -> str:
    """A value in the words of the system it comes from: `true` rather than `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
