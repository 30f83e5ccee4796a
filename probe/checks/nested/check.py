"""Types of a check of nested containers, and what such checks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from probe.checks.check import Outcome
from probe.facts.model import Facts
from probe.facts.nested.model import SOURCE, NestedStep, NestedTrial
from probe.finding import Evidence
from probe.nested import NestedLevel, PodRequest


class NestedOutcome(Struct, frozen=True, kw_only=True):
    """Result of a check: an outcome, and what the Pod must ask for so that the outcome holds."""

    outcome: Outcome
    pod: tuple[PodRequest, ...] = ()
    decides: tuple[NestedLevel, ...] = ()
    """Levels that the outcome decides, if not all that the check declares."""


class NestedCheck(Struct, frozen=True, kw_only=True):
    """Declaration of a check, printed by `userns-probe explain`."""

    id: str
    levels: tuple[NestedLevel, ...]
    question: str
    why: str
    """Consequence of a bad answer."""
    reasons: tuple[str, ...] = ()
    """All reasons of its failures; closed list."""
    documentation: str
    check: Callable[[Facts, str], NestedOutcome]
    """Judges the node for Pods with the runtime handler of that name, empty for the default one."""


def judge(outcome: Outcome, *pod: PodRequest) -> NestedOutcome:
    """*outcome*, which holds for a Pod that asks for *pod*."""
    return NestedOutcome(outcome=outcome, pod=pod)


def stopped(
    facts: Facts, names: Sequence[str], what: str, reason: str, remediation: str, load: str = ""
) -> Outcome | None:
    """Outcome of the first of the steps *names* that did not pass; None when all passed or nothing was tried.

    *load* is the command that loads the modules of a step that was left out.
    """
    trial = facts.nested.trial
    if trial.value is None:
        return None
    step = next((step for step in map(trial.value.step, names) if step.result != "passed"), None)
    if step is None:
        return None
    seen = evidence_of(step)
    if step.result == "failed":
        return Outcome.fail(
            reason, f"{step.name}: the kernel answers {step.errno}, so {what}", seen, remediation=remediation
        )
    kind = step.kind or "not-tried"
    remediation = load if step.result == "skipped" else ""
    return Outcome.unknown(kind, f"unknown whether {step.name} works: {step.reason}", seen, remediation=remediation)


def evidence_of(*steps: NestedStep) -> Evidence:
    """Results of *steps*, in one piece."""
    words = (f"{step.name} {step.errno or step.result}" for step in steps)
    return Evidence(SOURCE, ", ".join(words))


def seen_of(trial: NestedTrial, *names: str) -> Evidence:
    """Results of the steps of those names."""
    return evidence_of(*map(trial.step, names))
