"""Can the sandbox of a Pod with a user namespace be set up, step by step?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from probe.checks.check import Check, Evidence, Outcome
from probe.checks.kernel import mount_beside, raise_limits, step_words
from probe.checks.runtime.names import binds_sysfs, find_handler
from probe.facts.node import Facts
from probe.facts.trials.sandbox import SOURCE, SandboxFacts, SandboxStep, limit_of
from probe.reading import Reading

_WHAT = "whether a sandbox with a user namespace can be set up"


def check_sandbox_trial(facts: Facts, name: str = "") -> Outcome:
    """What a runtime does for the sandbox of a Pod, done once and thrown away."""
    sandbox = facts.sandbox.value
    if sandbox is None:
        return Outcome.not_read(_WHAT, facts.sandbox)
    if allowed := _of(sandbox, "control", "failed"):
        message = f"the trial of a sandbox cannot be trusted: {_list(allowed)}"
        return Outcome.warn(message, *_evidence(allowed), remediation=_DISTRUST)
    limits = facts.kernel.namespace_limits
    if failed := _of(sandbox, "required", "failed"):
        return _refused(facts, name, failed, limits)
    unknown = _of(sandbox, "required", "unknown") or _of(sandbox, "control", "unknown")
    if closed := _closed_root(facts, unknown):
        return closed
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


def _refused(facts: Facts, name: str, failed: list[SandboxStep], limits: Mapping[str, Reading[int]]) -> Outcome:
    """The controls worked, so a refusal is the node's; it stops each Pod unless the step is one that some can spare."""
    if decisive := [step for step in failed if _stops_each_pod(facts, name, step)]:
        message = f"a sandbox with a user namespace cannot be set up: {_list(decisive)}"
        return Outcome.fail(
            "SandboxRefused", message, *_evidence(decisive), remediation=_remediation(decisive[0], limits)
        )
    if scarce := [step for step in failed if step.errno == "ENOSPC"]:
        message = f"{_WHAT} is unknown: {_list(scarce)}"
        return Outcome.unknown("not-tried", message, *_evidence(failed), remediation=_remediation(scarce[0], limits))
    message = f"a step of a sandbox with a user namespace is refused that some Pods need: {_list(failed)}"
    return Outcome.warn(message, *_evidence(failed), remediation=_remediation(failed[0], limits))


def _stops_each_pod(facts: Facts, name: str, step: SandboxStep) -> bool:
    if step.errno == "ENOSPC":  # of a limit that is reached for now; one that is 0 stays
        limit = facts.kernel.namespace_limits.get(limit_of(step.name))
        return limit is not None and limit.value == 0
    if step.name == "sysfs" and step.errno == "EPERM":
        return not binds_sysfs(find_handler(facts, name))
    if step.name in ("cgroup", "cgroup namespace"):  # with cgroup v1 runtimes bind the node's hierarchies
        return facts.kernel.cgroup_version.value == 2
    return step.name != "veth"  # some network plugins make other links


def _closed_root(facts: Facts, unknown: list[SandboxStep]) -> Outcome | None:
    """EACCES may come from what confines the probe, but not where the root of a Pod may not search / itself."""
    entered = facts.probe.entered.value is True  # else this is the root directory of the probe's own container
    mode = facts.mounts.value.root_mode if facts.mounts.value and entered else None
    denied = [step for step in unknown if step.errno == "EACCES"]
    if not denied or mode is None or mode.value is None or mode.value & 0o001:
        return None
    message = f"the node's root directory has mode {mode.value:04o}: a Pod's root may not search it, nor any path below"
    seen = Evidence(mode.source, f"mode {mode.value:04o}")
    return Outcome.fail("RootDirectoryClosed", message, seen, *_evidence(denied), remediation=_OPEN_ROOT)


def _of(sandbox: SandboxFacts, role: str, result: str) -> list[SandboxStep]:
    return [step for step in sandbox.steps if step.role == role and step.result == result]


def _list(steps: Sequence[SandboxStep]) -> str:
    """The first with its meaning, which mostly explains the others."""
    others = f"; also {', '.join(step.name for step in steps[1:])}" if len(steps) > 1 else ""
    return step_words(steps[0]) + others


def _evidence(steps: Sequence[SandboxStep]) -> list[Evidence]:
    """Each step with its answer and how long it took."""
    found = []
    for step in steps:
        answer = f"{step.errno}: {step.meaning}" if step.errno else step.meaning
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

_OPEN_ROOT = "Let every user search the root directory, as on every distribution:\n  chmod 0755 /"

CHECKS = (
    Check(
        id="sandbox-trial",
        level="stateless",
        gating=False,
        question="Can everything be set up that the sandbox of a Pod with a user namespace needs?",
        why="The runtime makes seven namespaces and mounts proc, sysfs, tmpfs, mqueue, devpts and cgroup inside; the "
        "network plugin adds links. If one of these steps is refused, the Pod stays in ContainerCreating.",
        reasons=("SandboxRefused", "RootDirectoryClosed"),
        remediation="Look for a refusal in the kernel log and in the audit log:\n"
        "  dmesg | grep -iE 'denied|revealing|namespace' | tail\n"
        "  ausearch -m avc -ts recent",
        documentation="user_namespaces(7), mount_namespaces(7), namespaces(7)",
        check=check_sandbox_trial,
        per_handler=check_sandbox_trial,
    ),
)
