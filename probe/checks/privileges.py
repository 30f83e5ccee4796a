"""Privileges of the probe itself."""

from __future__ import annotations

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.node import OTHER_MACHINE
from probe.facts.model import Facts, ProbeFacts
from probe.finding import Evidence

_CAPABILITIES = {6: "CAP_SETGID", 7: "CAP_SETUID", 18: "CAP_SYS_CHROOT", 21: "CAP_SYS_ADMIN"}
"""Bit -> name of the capabilities that the probe needs. *Source*: linux/capability.h."""


def check_privileges(facts: Facts) -> Outcome:
    """A seccomp filter counts only if a live attempt was not permitted: many filters allow all needed calls."""
    probe = facts.probe
    if not probe.supported_architecture:
        message = f"the probe does not know the system calls of {facts.kernel.architecture}, so it tried nothing"
        machine = Evidence("architecture of this machine", facts.kernel.architecture)
        return Outcome.unknown("not-tried", message, machine, remediation=OTHER_MACHINE)
    if probe.seccomp.value is None:
        return Outcome.not_read("what the probe may do", probe.seccomp)
    if probe.entered.value is None:
        entering = f"the node could not be entered ({probe.entered.source}: {probe.entered.problem})"
    else:
        entering = "" if probe.entered.value else "the node was not entered"
    obstacles = [text for text in (entering, *_confinement(facts)) if text]
    seen = (
        Evidence("effective capabilities of the probe", f"{probe.effective_capabilities:#x}"),
        probe.seccomp.parse(seccomp_words),
        probe.in_initial_user_namespace.parse(user_namespace_words),
        probe.entered.parse(lambda entered: f"the node's mount namespace was {'' if entered else 'not '}entered"),
    )
    if obstacles:
        return Outcome.unknown("not-permitted", "the probe is confined: " + "; ".join(obstacles), *seen)
    return Outcome.passed("the probe has all required privileges", *seen)


def seccomp_words(mode: int) -> str:
    """`Seccomp` of proc_pid_status(5), with its meaning."""
    meaning = {0: "no filter", 1: "strict mode", 2: "under a filter"}.get(mode, "of unknown meaning")
    return f"Seccomp {mode}, {meaning}"


def user_namespace_words(initial: bool) -> str:
    """Meaning of the link ns/user of a process."""
    return "the node's own user namespace" if initial else "another user namespace than the node's"


def _confinement(facts: Facts) -> list[str]:
    probe = facts.probe
    missing = [name for bit, name in _CAPABILITIES.items() if not probe.effective_capabilities >> bit & 1]
    obstacles = [f"without {', '.join(missing)}"] if missing else []
    forbidden = "not-permitted" in (facts.user_namespace.kind, *(attempt.kind for attempt in facts.attempts))
    if probe.seccomp.value and forbidden:
        obstacles.append("under a seccomp filter")
    if probe.in_initial_user_namespace.value is not True:
        obstacles.append(_user_namespace(probe))
    if probe.chrooted:
        obstacles.append("in a chroot, where user namespaces are forbidden even to root")
    if probe.threads > 1:
        obstacles.append(f"with {probe.threads} threads, where namespaces cannot be changed")
    if forbidden and not obstacles and probe.entered.value:
        obstacles.append("something that it cannot see, such as a profile of AppArmor or SELinux, forbids the attempts")
    return obstacles


def _user_namespace(probe: ProbeFacts) -> str:
    own = probe.in_initial_user_namespace
    return f"its user namespace is unknown ({own.problem})" if own.value is None else "in its own user namespace"


CHECK = Check(
    id="probe-privileges",
    level="stateless",
    gating=False,
    question="Does the probe have all required privileges?",
    why="Anything the probe lacks permission to try is reported as unknown, even if the node is fine.",
    remediation=GENERIC["probe-privileges"],
    documentation="capabilities(7); setns(2); user_namespaces(7)",
    check=check_privileges,
)
