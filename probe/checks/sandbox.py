"""Can the sandbox of a Pod with a user namespace be set up, step by step?"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from probe.checks.check import Check, Outcome
from probe.checks.proc_sysfs import step_words
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.node import DISTRUST, OPEN_ROOT, repeat_step
from probe.checks.runtime.names import binds_sysfs, find_handler
from probe.facts.model import Facts
from probe.facts.trials.sandbox import SOURCE, limit_of
from probe.facts.tried import SandboxFacts, SandboxStep
from probe.finding import Evidence

_WHAT = "whether a sandbox with a user namespace can be set up"


def check_sandbox_trial(facts: Facts, name: str = "") -> Outcome:
    """Judge the trial of all steps of a runtime for the sandbox of a Pod."""
    sandbox = facts.sandbox.value
    if sandbox is None:
        return Outcome.not_read(_WHAT, facts.sandbox)
    if allowed := _of(sandbox, "control", "failed"):
        message = f"the sandbox trial cannot be trusted: {_list(allowed)}"
        return Outcome.warn(message, *_evidence(allowed), remediation=DISTRUST)
    if failed := _of(sandbox, "required", "failed"):
        return _refused(facts, name, failed)
    unknown = _of(sandbox, "required", "unknown") or _of(sandbox, "control", "unknown")
    if closed := _closed_root(facts, unknown):
        return closed
    if unknown:
        message = f"unknown {_WHAT}: {_list(unknown)}"
        return Outcome.unknown(unknown[0].kind or "not-tried", message, *_evidence(unknown))
    untried = _of(sandbox, "required", "not-tried") or _of(sandbox, "control", "not-tried")
    if untried:
        skipped = [step for step in sandbox.steps if step.result == "skipped"]
        message = f"unknown {_WHAT}: {_list(untried)}"
        return Outcome.unknown("NotTried", message, *_evidence((*skipped, *untried)))
    passed = [step for step in sandbox.steps if step.result == "passed"]
    rest = [step for step in sandbox.steps if step.result != "passed"]
    message = f"a sandbox with a user namespace can be set up: {len(passed)} steps worked"
    if rest:
        message += f"; left out, or not needed by most Pods: {', '.join(step.name for step in rest)}"
    took = Evidence(SOURCE, f"took {sandbox.seconds * 1000:.0f} ms")
    return Outcome.passed(message, took, *_evidence(rest))


def _refused(facts: Facts, name: str, failed: list[SandboxStep]) -> Outcome:
    """The controls worked, so the node refused the step; every Pod fails unless some runtimes can omit the step."""
    limits = {name: limit.value for name, limit in facts.kernel.namespace_limits.items()}
    if decisive := [step for step in failed if _stops_each_pod(facts, name, step)]:
        message = f"a sandbox with a user namespace cannot be set up: {_list(decisive)}"
        return Outcome.fail(
            "SandboxRefused", message, *_evidence(decisive), remediation=repeat_step(decisive[0], limits)
        )
    if scarce := [step for step in failed if step.errno == "ENOSPC"]:
        message = f"unknown {_WHAT}: {_list(scarce)}"
        found = Outcome.unknown("not-tried", message, *_evidence(failed), remediation=repeat_step(scarce[0], limits))
        return replace(found, decides=True)  # as for user namespaces, of which kernel-user-namespaces says the same
    message = f"the kernel refuses a step of a sandbox that some Pods need: {_list(failed)}"
    return Outcome.warn(message, *_evidence(failed), remediation=repeat_step(failed[0], limits))


def _stops_each_pod(facts: Facts, name: str, step: SandboxStep) -> bool:
    if step.errno == "ENOSPC":  # a limit reached for now, unless it is 0
        limit = facts.kernel.namespace_limits.get(limit_of(step.name))
        return limit is not None and limit.value == 0
    if step.name == "sysfs" and step.errno == "EPERM":
        return not binds_sysfs(find_handler(facts, name))
    if step.name in ("cgroup", "cgroup namespace"):  # on cgroup v1 runtimes bind the node's hierarchies
        return facts.kernel.cgroup_version.value == 2
    return step.name != "veth"  # some network plugins use other links


def _closed_root(facts: Facts, unknown: list[SandboxStep]) -> Outcome | None:
    """EACCES may come from the confinement of the probe, unless root of a Pod lacks search permission on / itself."""
    entered = facts.probe.entered.value is True  # else / is the root of the probe's own container
    mode = facts.mounts.value.root_mode if facts.mounts.value and entered else None
    denied = [step for step in unknown if step.errno == "EACCES"]
    if not denied or mode is None or mode.value is None or mode.value & 0o001:
        return None
    message = f"the node's root directory has mode {mode.value:04o}: a Pod's root may not search it or any path below"
    seen = Evidence(mode.source, f"mode {mode.value:04o}")
    return Outcome.fail("RootDirectoryClosed", message, seen, *_evidence(denied), remediation=OPEN_ROOT)


def _of(sandbox: SandboxFacts, role: str, result: str) -> list[SandboxStep]:
    return [step for step in sandbox.steps if step.role == role and step.result == result]


def _list(steps: Sequence[SandboxStep]) -> str:
    """Text of the steps; only the first with its meaning, which usually explains the others."""
    others = f"; also {', '.join(step.name for step in steps[1:])}" if len(steps) > 1 else ""
    return step_words(steps[0]) + others


def _evidence(steps: Sequence[SandboxStep]) -> list[Evidence]:
    """Each step with its answer and duration."""
    found = []
    for step in steps:
        answer = f"{step.errno}: {step.reason}" if step.errno else step.reason
        source = f"{SOURCE}, {step.name}"
        text = f"{answer} ({step.seconds * 1000:.1f} ms)" if step.seconds else answer
        found.append(Evidence(source, text) if step.result == "failed" else Evidence(source, problem=text))
    return found


CHECKS = (
    Check(
        id="sandbox-trial",
        level="stateless",
        gating=False,
        question="Can the sandbox of a Pod with a user namespace be set up?",
        why="The runtime makes seven namespaces and mounts proc, sysfs, tmpfs, mqueue, devpts and cgroup inside; the "
        "network plugin adds links. If one of these steps is refused, the Pod stays in ContainerCreating.",
        reasons=("SandboxRefused", "RootDirectoryClosed"),
        remediation=GENERIC["sandbox-trial"],
        documentation="user_namespaces(7), mount_namespaces(7), namespaces(7)",
        check=check_sandbox_trial,
        per_handler=check_sandbox_trial,
    ),
)
