"""New mounts of /proc and /sys in the user namespace of a Pod."""

from __future__ import annotations

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.kernel import mount_uncovered
from probe.checks.runtime.names import binds_sysfs, find_handler
from probe.facts.model import Facts, Visibility
from probe.facts.trials.sandbox import proc_answer, sysfs_answer
from probe.facts.tried import SandboxStep
from probe.finding import Evidence


def check_proc_sysfs(facts: Facts, name: str = "") -> Outcome:
    """Only the node's mount table counts: /proc of the probe's own container is covered."""
    mounts = facts.mounts
    if mounts.value is None:
        return Outcome.not_read("whether /proc and /sys are covered", mounts)
    if facts.probe.entered.value is not True:
        message = "unknown whether /proc and /sys are covered: the node's mount table could not be reached"
        return Outcome.unknown(facts.probe.entered.kind or "not-permitted", message, facts.probe.entered)
    kinds = (("proc", mounts.value.proc), ("sysfs", mounts.value.sysfs))
    tried = {fstype: _tried(facts, fstype) for fstype, _ in kinds}
    # The sandbox trial decides if it has an answer; then the mount table only explains it.
    covered = {fstype: seen for fstype, seen in kinds if _is_covered(seen, tried[fstype])}
    answers = [_answer_evidence(step) for step in tried.values() if step and step.result in ("passed", "failed")]
    if covered:
        return _covered(facts, name, covered, tried, answers)
    failed = [step for step in tried.values() if step and step.result == "failed"]
    if failed:
        message = f"unknown whether a Pod's user namespace may mount {failed[0].name}: {step_words(failed[0])}"
        return Outcome.unknown("not-readable", message, *answers)
    where = Evidence(mounts.source, f"{mounts.value.count} mounts, none of which hides part of /proc or /sys")
    return Outcome.passed("a Pod's user namespace may mount /proc and /sys", where, *answers)


def _is_covered(seen: Visibility, step: SandboxStep | None) -> bool:
    """True for EPERM, the kernel's answer to a covered mount on the node; other errnos have other causes."""
    refused = step is not None and step.result == "failed" and step.errno == "EPERM"
    return refused or (not seen.visible and not (step and step.result == "passed"))


def _covered(
    facts: Facts,
    name: str,
    covered: dict[str, Visibility],
    tried: dict[str, SandboxStep | None],
    answers: list[Evidence],
) -> Outcome:
    source = facts.mounts.source
    seen = [Evidence(source, f"{fstype}: {what}") for fstype, one in covered.items() for what in one.covering]
    which = [f"{fstype} ({_why_covered(one, tried[fstype])})" for fstype, one in covered.items()]
    if set(covered) == {"sysfs"} and binds_sysfs(find_handler(facts, name)):
        message = f"a Pod's user namespace may not mount {which[0]}, where crun binds the node's /sys instead"
        return Outcome.passed(message, *seen, *answers)
    reason = "ProcCovered" if "proc" in covered else "SysfsCovered"
    message = f"a Pod's user namespace may not mount {' and '.join(which)}"
    return Outcome.fail(reason, message, *seen, *answers, remediation=mount_uncovered(covered))


def _why_covered(seen: Visibility, step: SandboxStep | None) -> str:
    return _list(seen.covering) or (step.errno if step else "") or "covered"


def _tried(facts: Facts, fstype: str) -> SandboxStep | None:
    """Step of the sandbox trial that mounts a new *fstype*; None without a trial."""
    if facts.sandbox.value is None:
        return None
    return proc_answer(facts.sandbox.value) if fstype == "proc" else sysfs_answer(facts.sandbox.value)


def _answer_evidence(step: SandboxStep) -> Evidence:
    answer = f"{step.result} ({step.errno})" if step.errno else step.result
    return Evidence(f"{step.name} mounted in the sandbox trial", answer)


def step_words(step: SandboxStep) -> str:
    """Text of a sandbox step with its errno and meaning."""
    return f"{step.name}{f' ({step.errno})' if step.errno else ''}: {step.reason}"


def _list(covering: tuple[str, ...]) -> str:
    rest = len(covering) - 3
    return ", ".join(covering[:3]) + (f" and {rest} more" if rest > 0 else "")


CHECK = Check(
    id="kernel-proc-sysfs",
    level="stateless",
    gating=True,
    question="May a Pod's user namespace mount /proc and /sys?",
    why="The kernel refuses a new one if every existing one is partly covered: by lxcfs, by the masks of an outer "
    "container, or on nodes that are containers. Then no Pod with a user namespace gets a sandbox: "
    "'mounting proc: operation not permitted'.",
    reasons=("ProcCovered", "SysfsCovered"),
    remediation=GENERIC["kernel-proc-sysfs"],
    documentation="mount_namespaces(7), Restrictions on mount namespaces",
    check=check_proc_sysfs,
    per_handler=check_proc_sysfs,
)
