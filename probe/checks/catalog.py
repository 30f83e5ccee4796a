"""Every check, in stack order: from the kernel up to the file systems of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from probe.checks import faults, filesystems, hazards, ids, kernel, kubelet, meshes, sandbox
from probe.checks.check import Check, Outcome
from probe.checks.disproof import after_pods
from probe.checks.remedies.table import remediation_of
from probe.checks.runtime import added, directories, files, limits, pod_trial, programs, snapshotter, volumes
from probe.checks.runtime import offers as runtime
from probe.checks.runtime import trial as runtime_trial
from probe.facts.model import Facts
from probe.finding import Finding, clipped
from probe.terms import UnknownReason

CHECKS: tuple[Check, ...] = (
    *kernel.CHECKS,
    *kubelet.CHECKS,
    *ids.CHECKS,
    *runtime.CHECKS,
    *snapshotter.CHECKS,
    *files.CHECKS,
    *directories.CHECKS,
    *limits.CHECKS,
    *programs.CHECKS,
    *added.CHECKS,
    *volumes.CHECKS,
    *sandbox.CHECKS,
    *runtime_trial.CHECKS,
    *pod_trial.CHECKS,
    *filesystems.CHECKS,
    *hazards.CHECKS,
    *faults.CHECKS,
    *meshes.CHECKS,
)


def find(check_id: str) -> Check | None:
    """The check of that id."""
    return next((check for check in CHECKS if check.id == check_id), None)


def judge(facts: Facts, handler: str = "") -> tuple[Finding, ...]:
    """One finding per check, in stack order, about Pods with that runtime handler; empty for the default one."""
    return tuple(_finding(check, _answer(check, facts, handler), facts) for check in CHECKS)


def judge_again(facts: Facts, handler: str, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """*findings* of `judge`, with those that depend on the handler answered anew for another one."""
    return tuple(
        _finding(check, _answer(check, facts, handler), facts) if check.per_handler else finding
        for check, finding in zip(CHECKS, findings, strict=True)
    )


def _answer(check: Check, facts: Facts, handler: str) -> Outcome:
    outcome = check.per_handler(facts, handler) if check.per_handler else check.check(facts)
    return after_pods(facts, check, outcome, handler)


def _finding(check: Check, outcome: Outcome, facts: Facts) -> Finding:
    allowed = {"fail": check.reasons, "unknown": get_args(UnknownReason)}.get(outcome.status, ("",))
    if outcome.reason not in allowed:
        raise ValueError(f"{check.id} gave the reason {outcome.reason!r}, which it does not declare")
    well = outcome.status in ("pass", "skipped")
    return Finding(
        id=check.id,
        level=outcome.level or check.level,
        gating=check.gating or outcome.decides,
        status=outcome.status,
        reason=outcome.reason,
        message=clipped(outcome.message),
        remediation="" if well else remediation_of(check.id, outcome.reason, facts, outcome.remediation),
        documentation=check.documentation,
        evidence=outcome.evidence,
    )
