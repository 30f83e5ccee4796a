"""Can a rootless engine mount a new /proc?"""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, evidence_of, judge
from probe.facts.model import Facts
from probe.nested import PodRequest

_UNMASKED = PodRequest(
    "proc-mount", "Unmasked", "masks over /proc are locked in a second user namespace, which then gets no /proc (EPERM)"
)


def check_proc(facts: Facts, handler: str) -> NestedOutcome:
    """The kernel gives a new /proc only where a whole one is visible; since Linux 7.2 `subset=pid` needs none."""
    trial = facts.nested.trial
    if trial.value is None:
        return judge(Outcome.not_read("whether a rootless engine gets /proc", trial), _UNMASKED)
    plain, subset, unmasked = map(trial.value.step, ("rootless proc", "rootless proc subset", "unmasked proc"))
    seen = evidence_of(plain, subset, unmasked)
    if plain.result == "passed":
        return judge(Outcome.passed("a rootless engine gets /proc with procMount: Default", seen))
    if unmasked.result == "passed" and plain.result == "failed":
        more = "; with procMount: Default the kernel allows only subset=pid" if subset.result == "passed" else ""
        message = f"a rootless engine gets /proc with procMount: Unmasked{more}"
        return judge(Outcome.passed(message, seen), _UNMASKED)
    bad = unmasked if unmasked.result != "passed" else plain
    if bad.result == "failed":
        message = f"{bad.name}: the kernel answers {bad.errno}, so no rootless engine gets /proc"
        remediation = "Uncover /proc in the runtime's mount namespace: see the check kernel-proc-sysfs."
        return judge(Outcome.fail("NestedProcRefused", message, seen, remediation=remediation), _UNMASKED)
    message = f"unknown whether {bad.name} works: {bad.reason}"
    return judge(Outcome.unknown(bad.kind or "not-tried", message, seen), _UNMASKED)


CHECKS = (
    NestedCheck(
        id="nested-proc",
        levels=("rootless",),
        question="Can a rootless engine mount a new /proc?",
        why="A container of a rootless engine has its own PIDs and needs a /proc for them. Only rootless engines need "
        "procMount: Unmasked; the Pod's own root does not.",
        reasons=("NestedProcRefused",),
        documentation="KEP-4265, mount_namespaces(7), proc(5)",
        check=check_proc,
    ),
)
