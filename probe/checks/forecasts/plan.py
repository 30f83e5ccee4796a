"""Facts as they will be after an event, and the verdict that the checks give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from probe.checks.catalog import judge
from probe.checks.check import Outcome
from probe.checks.ids import expect
from probe.checks.remedies.ids import start_remediation
from probe.facts.model import Facts
from probe.facts.tried import POD_NOT_ASKED
from probe.finding import Finding, clipped
from probe.forecast import Change, Event, EventForecast
from probe.reading import Reading
from probe.verdict import Conclusion, conclude, decisive

_NOT_YET: Reading[bool] = Reading.without("Pods that run now", "not-tried", "show nothing of what comes")


_NAMES: dict[Event, str] = {"boot": "the next boot", "runtime-restart": "a restart of the container runtime"}


_OF_A_BOOT = ("filesystem-", "kernel-")
"""Checks whose answer kernel and mounts decide."""


class Stop(Struct, frozen=True, kw_only=True):
    """Something that no check knows and that stops each Pod after the event."""

    reason: str
    message: str
    remediation: str


class Plan(Struct, frozen=True, kw_only=True):
    """One event: what changes, what is not known, and the facts afterwards."""

    event: Event
    after: Facts
    changes: tuple[Change, ...] = ()
    doubts: tuple[Reading[Any], ...] = ()
    """Readings without value that may hide a change."""
    stops: tuple[Stop, ...] = ()
    pending: str = ""
    remediation: str = ""
    """Remediation that fits the change better than that of the finding."""


def forecast_event(facts: Facts, findings: Sequence[Finding], plan: Plan) -> EventForecast:
    """Forecast of *plan*; *findings* are those of today."""
    own = conclude(findings)
    after = findings if plan.after is facts else _judged(facts, findings, plan.after)
    conclusion = conclude(after)
    if plan.stops and conclusion.verdict != "not-ready":
        stop = plan.stops[0]
        return _forecast(plan, own, _stopped(conclusion, stop), stop.remediation, stop.message)
    finding = decisive(after)
    fix = finding.remediation if finding else ""
    if plan.remediation and finding and finding.id.startswith(_OF_A_BOOT):
        fix = plan.remediation
    return _forecast(plan, own, conclusion, fix, conclusion.message)


def _forecast(plan: Plan, own: Conclusion, then: Conclusion, remediation: str, message: str) -> EventForecast:
    turns = then.levels != own.levels
    better = then.verdict == "ready" and own.verdict != "ready"
    if plan.doubts and (not turns or better):
        return _unknown(plan, plan.doubts[0], then)
    return EventForecast(
        event=plan.event,
        outcome="turns" if turns else "stays",
        verdict=then.verdict,
        levels=then.levels,
        reason="" if then.verdict == "ready" else then.reason,
        message=clipped(_of_levels(own, then) or message) if turns else "",
        remediation=remediation if turns and not better else "",
        pending=plan.pending,
        changes=plan.changes,
    )


def _unknown(plan: Plan, doubt: Reading[Any], then: Conclusion) -> EventForecast:
    outcome = Outcome.not_read(f"the verdict after {_NAMES[plan.event]}", doubt)
    return EventForecast(
        event=plan.event,
        outcome="unknown",
        verdict="unknown",
        levels=dict.fromkeys(then.levels, "unknown"),
        reason=outcome.reason,
        message=clipped(outcome.message),
        remediation="",
        pending=plan.pending,
        changes=plan.changes,
    )


def _of_levels(own: Conclusion, then: Conclusion) -> str:
    """Sentence for a turn of levels alone; empty when the verdict itself turns, or nothing does."""
    if own.verdict != then.verdict or own.levels == then.levels:
        return ""
    turned = [f"{level} {verdict}" for level, verdict in then.levels.items() if own.levels.get(level) != verdict]
    return f"the verdict stays; levels that change: {', '.join(turned)}"


def _judged(facts: Facts, findings: Sequence[Finding], after: Facts) -> list[Finding]:
    """Findings of *after*. A check that gives both facts the same answer keeps its finding of today.

    Both are judged without the Pods that run or ran, which prove nothing of what comes.
    """
    before, then = judge(_unproven(facts)), judge(_unproven(after))
    return [own if old == new else new for own, old, new in zip(findings, before, then, strict=True)]


def _unproven(facts: Facts) -> Facts:
    return replace(facts, userns_pod_runs=_NOT_YET, pod_trial=POD_NOT_ASKED)


def kubelet_stops(after: Facts) -> tuple[Stop, ...]:
    """The reasons that end the next start of the kubelet: its own checks, with the facts of then."""
    expected = expect(after)
    if expected is None or expected.outcome != "fails" or expected.cause is None:
        return ()
    message = f"the kubelet will not start: {expected.reason}"
    remediation = start_remediation(expected.cause, after)
    return (Stop(reason="KubeletNotFound", message=message, remediation=remediation),)


def _stopped(conclusion: Conclusion, stop: Stop) -> Conclusion:
    levels = dict.fromkeys(conclusion.levels, "not-ready")
    return replace(conclusion, verdict="not-ready", reason=stop.reason, message=stop.message, levels=levels)
