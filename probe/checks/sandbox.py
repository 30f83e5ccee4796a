"""Can the sandbox of a Pod with a user namespace be set up, step by step?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from probe.checks.check import Check, Evidence, Outcome
from probe.checks.kernel import mount_beside, raise_limits
from probe.facts.model import Facts
from probe.facts.trials.sandbox import SOURCE, limit_of
from probe.facts.tried import SandboxFacts, SandboxStep
from probe.reading import Reading

_WHAT = "whether a sandbox with a user namespace can be set up"


def check_sandbox_trial(facts: Facts) -> Outcome:
    """What a runtime does for the sandbox of a Pod, done once and thrown away."""
    sandbox = facts.sandbox.value
    if sandbox is None:
        return Outcome.not_read(_WHAT, facts.sandbox)
    return judge_sandbox_trial(sandbox, facts.kernel.namespace_limits)


def judge_sandbox_trial(sandbox: SandboxFacts, limits: Mapping[str, Reading[int]]) -> Outcome:
    """Never a failure: whatever gates has a check of its own, so this one warns and explains.

    *limits* are those of namespaces, by sysctl name.
    """
    allowed = _of(sandbox, "control", "failed")
    if allowed:
        message = f"the trial of a sandbox cannot be trusted: {_list(allowed)}"
        return Outcome.warn(message, *_evidence(allowed), remediation=_DISTRUST)
    failed = _of(sandbox, "required", "failed")
    if failed:
        message = f"a sandbox with a user namespace cannot be set up: {_list(failed)}"
        return Outcome.warn(message, *_evidence(failed), remediation=_remediation(failed[0], limits))
    unknown = _of(sandbox, "required", "unknown") or _of(sandbox, "control", "unknown")
    if unknown:
        message = f"{_WHAT} is unknown: {_list(unknown)}"
        return Outcome.unknown(unknown[0].kind or "not-tried", message, *_evidence(unknown))
    untried = _of(sandbox, "required", "not-tried") or _of(sandbox, "control", "not-tried")
    if untried:
        skipped = [step for step in sandbox.steps if step.result == "skipped"]
        message = f"{_WHAT} is unknown: {_list(untried)}"
        return Outcome.unknown("NotTried", message, *_evidence((*skipped, *untried)))
    passed = [step for step in sandbox.steps if step.result == "passed"]
    rest = [step for step in sandbox.steps if step.result != "passed"]
    message = f"a sandbox with a user namespace can be set up: {len(passed)} steps worked"
    if rest:
        message += f", left out or not needed by most Pods: {', '.join(step.name for step in rest)}"
    took = Evidence(SOURCE, f"took {sandbox.seconds * 1000:.0f} ms")
    return Outcome.passed(message, took, *_evidence(rest))


def _of(sandbox: SandboxFacts, role: str, result: str) -> list[SandboxStep]:
    return [step for step in sandbox.steps if step.role == role and step.result == result]


def _list(steps: Sequence[SandboxStep]) -> str:
    """The first with its meaning, which mostly explains the others."""
    first = steps[0]
    answer = f" ({first.errno})" if first.errno else ""
    others = f"; also {', '.join(step.name for step in steps[1:])}" if len(steps) > 1 else ""
    return f"{first.name}{answer}: {first.reason}{others}"


def _evidence(steps: Sequence[SandboxStep]) -> list[Evidence]:
    """Each step with its answer and how long it took."""
    found = []
    for step in steps:
        answer = f"{step.errno}: {step.reason}" if step.errno else step.reason
        source = f"{SOURCE}, {step.name}"
        text = f"{answer} ({step.seconds * 1000:.1f} ms)" if step.seconds else answer
        found.append(Evidence(source, text) if step.result == "failed" else Evidence(source, problem=text))
    return found


def _remediation(step: SandboxStep, limits: Mapping[str, Reading[int]]) -> str:
    limit = limit_of(step.name)
    if step.errno == "ENOSPC" and limit:
        return raise_limits({limit: limits.get(limit, Reading.without(limit, "not-tried", "not read"))})
    if step.errno == "EPERM" and step.name in ("proc", "sysfs"):
        place = "/proc" if step.name == "proc" else "/sys"
        return f"{mount_beside([step.name])}\nThis shows what covers it:\n  findmnt -R -o TARGET,FSTYPE,OPTIONS {place}"
    return ""


_DISTRUST = (
    "Nothing to repair on the node: an LSM or a patched kernel answers differently inside user namespaces here. "
    "Start a Pod with hostUsers: false on this node to be sure, and report this to userns-probe."
)

CHECKS = (
    Check(
        id="sandbox-trial",
        level="stateless",
        gating=False,
        question="Can everything be set up that the sandbox of a Pod with a user namespace needs?",
        why="The runtime makes seven namespaces and mounts proc, sysfs, tmpfs, mqueue, devpts and cgroup inside; the "
        "network plugin adds links. If one of these steps is refused, the Pod stays in ContainerCreating.",
        remediation="Look for a refusal in the kernel log and in the audit log:\n"
        "  dmesg | grep -iE 'denied|revealing|namespace' | tail\n"
        "  ausearch -m avc -ts recent",
        documentation="user_namespaces(7), mount_namespaces(7), namespaces(7)",
        check=check_sandbox_trial,
    ),
)
