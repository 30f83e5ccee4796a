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
_QUESTION_WORDS = ("how ", "what ", "where ", "whether ", "which ", "whose ")
NOT_MET = frozenset(
    {
        *("KubeletDirectoryNotWritable", "NetworkNotReady", "RuntimeNotReady"),  # the kubelet acts on them
        "KubeletDirectoryHidden",  # a Pod of a trial has no /etc/hosts
        *("LimitTooSmall", "UmaskTooStrict"),  # the pause image has one small program, and no file of users
    }
)
"""Reasons of failures that the Pod of a trial may not meet, and others do: no such Pod disproves them, and of several
failures of a check one of these comes first."""


class Outcome(Struct, frozen=True, kw_only=True):
    """Result of a check."""

    status: Status
    message: str
    """One sentence, without a full stop."""
    reason: str = ""
    """CamelCase. For `fail` one of the check's own reasons, for `unknown` an UnknownReason; else empty."""
    evidence: tuple[Evidence, ...] = ()
    remediation: str = ""
    """Specific remediation from a function of probe.checks.remedies; if empty, the lookup finds one."""
    level: Level | None = None
    """First level that this outcome concerns, if another than the check declares."""
    stands: bool = False
    """True for what no Pod that has run settles: a Pod of another image may meet it."""
    decides: bool = False
    """True for an unknown that decides its level and the verdict, although others of its check do not."""

    @classmethod
    def passed(cls, message: str, *seen: Reading[Any] | Evidence) -> Outcome:
        """The answer to the question is good."""
        return cls(status="pass", message=message, evidence=_evidence(seen))

    @classmethod
    def warn(cls, message: str, *seen: Reading[Any] | Evidence, remediation: str = "") -> Outcome:
        """Pods run, but an administrator should know this."""
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
        """Every Pod of the check's level fails on this node. A problem of only some Pods is a warning."""
        evidence = _evidence(seen)
        return cls(
            status="fail", reason=reason, message=message, evidence=evidence, remediation=remediation, level=level
        )

    @classmethod
    def skipped(cls, message: str, *seen: Reading[Any] | Evidence) -> Outcome:
        """The question does not apply to this node."""
        return cls(status="skipped", message=message, evidence=_evidence(seen))

    @classmethod
    def unknown(
        cls, kind: ProblemKind | UnknownReason, message: str, *seen: Reading[Any] | Evidence, remediation: str = ""
    ) -> Outcome:
        """The answer is unknown, because *message*."""
        reason = _REASON_OF_KIND.get(kind, kind)  # type: ignore[arg-type]
        return cls(status="unknown", reason=reason, message=message, evidence=_evidence(seen), remediation=remediation)

    @classmethod
    def not_read(cls, what: str, reading: Reading[Any], *seen: Reading[Any] | Evidence) -> Outcome:
        """Unknown, because *reading* has a problem."""
        if reading.kind is None:
            raise ValueError(f"{reading.source} was read")
        return cls.unknown(reading.kind, f"{unknown(what)}: {reading.source}: {reading.problem}", reading, *seen)


def unknown(what: str) -> str:
    """Text for *what*, a noun or a clause: `the snapshotter is unknown`, `unknown whether it maps owners`."""
    return f"unknown {what}" if what.startswith(_QUESTION_WORDS) else f"{what} is unknown"


class Check(Struct, frozen=True, kw_only=True):
    """Declaration of a check: one question about a node, printed by `userns-probe explain`."""

    id: str
    """ID, the same in code, report, metrics, README and `explain`."""
    level: Level
    gating: bool
    """True when an `unknown` also decides its level and the verdict; a `fail` of any check does."""
    question: str
    why: str
    """Consequence of a bad answer: the broken feature and the affected Pods."""
    reasons: tuple[str, ...] = ()
    """All reasons of its failures; closed list."""
    remediation: str
    """Remediation without knowledge of the node, as commands to paste where possible."""
    documentation: str
    """Reference: manual page with section, KEP or specification."""
    contradiction: bool = False
    """True when the check compares the claim of a layer with an observation."""
    check: Callable[[Facts], Outcome]
    per_handler: Callable[[Facts, str], Outcome] | None = None
    """The check for one runtime handler (CRI's name, empty for the default); None if the handler does not matter.
    """


def _evidence(seen: tuple[Reading[Any] | Evidence, ...]) -> tuple[Evidence, ...]:
    found = (one if isinstance(one, Evidence) else _evidence_of(one) for one in seen[:EVIDENCE_LIMIT])
    return tuple(dict.fromkeys(Evidence(*map(clipped, (one.source, one.value, one.problem))) for one in found))


def _evidence_of(reading: Reading[Any]) -> Evidence:
    if reading.value is None:
        return Evidence(reading.source, "", reading.problem)
    return Evidence(reading.source, _text(reading.value))


def _text(value: object) -> str:
    """Text of a value in JSON spelling: `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
