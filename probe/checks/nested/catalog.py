"""Every check of nested containers, and the block of the Report made of their outcomes."""

from __future__ import annotations

from typing import get_args

from probe.checks.nested import (
    budgets,
    cgroup,
    devices,
    idmap_again,
    lsm,
    mounts,
    network,
    overlay,
    proc,
    seccomp,
    sysfs,
    user_namespace,
)
from probe.checks.nested.check import NestedCheck
from probe.facts.model import Facts
from probe.finding import clipped
from probe.nested import Base, Nested, NestedFinding, NestedHandler, conclude_nested
from probe.terms import UnknownReason

CHECKS: tuple[NestedCheck, ...] = (
    *mounts.CHECKS,
    *overlay.CHECKS,
    *seccomp.CHECKS,
    *lsm.CHECKS,
    *network.CHECKS,
    *cgroup.CHECKS,
    *budgets.CHECKS,
    *sysfs.CHECKS,
    *user_namespace.CHECKS,
    *proc.CHECKS,
    *devices.CHECKS,
    *idmap_again.CHECKS,
)


def find(check_id: str) -> NestedCheck | None:
    """The check of that id."""
    return next((check for check in CHECKS if check.id == check_id), None)


def judge_nested(facts: Facts, bases: dict[str, Base]) -> Nested:
    """All that is said of nested containers; *bases* has the node's verdict for each handler, `""` always."""
    findings = {name: tuple(_finding(check, facts, name) for check in CHECKS) for name in bases}
    concluded = {name: conclude_nested(findings[name], base) for name, base in bases.items()}
    handlers = tuple(
        NestedHandler(
            name=name,
            levels={level: one.verdict for level, one in levels.items()},
            reasons={level: one.reason for level, one in levels.items() if one.reason},
        )
        for name, levels in concluded.items()
    )
    return Nested(levels=concluded[""], handlers=handlers, findings=findings[""])


def _finding(check: NestedCheck, facts: Facts, handler: str) -> NestedFinding:
    judged = check.check(facts, handler)
    outcome = judged.outcome
    allowed = {"fail": check.reasons, "unknown": get_args(UnknownReason)}.get(outcome.status, ("",))
    if outcome.reason not in allowed:
        raise ValueError(f"{check.id} gave the reason {outcome.reason!r}, which it does not declare")
    return NestedFinding(
        id=check.id,
        levels=check.levels,
        decides=judged.decides or check.levels,
        status=outcome.status,
        reason=outcome.reason,
        message=clipped(outcome.message),
        remediation=outcome.remediation,
        documentation=check.documentation,
        pod=judged.pod,
        evidence=outcome.evidence,
    )
