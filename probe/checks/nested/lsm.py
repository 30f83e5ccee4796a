"""The confinement of AppArmor and SELinux that a Pod must turn off."""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, judge, seen_of
from probe.facts.model import Facts
from probe.nested import PodRequest

_APPARMOR = PodRequest("apparmor", "Unconfined", "the runtime's AppArmor profile says `deny mount` in every namespace")
_SELINUX = PodRequest(
    "selinux", "container_engine_t", "the type container_t may not mount; container-selinux has container_engine_t"
)
_ALLOW = (
    "Allow user namespaces to processes without capabilities, now and at each boot.\n"
    "  echo {setting} > /etc/sysctl.d/90-rootless.conf\n"
    "  sysctl -p /etc/sysctl.d/90-rootless.conf"
)
_OF_UBUNTU, _OF_DEBIAN = "kernel.apparmor_restrict_unprivileged_userns=0", "kernel.unprivileged_userns_clone=1"


def check_lsm(facts: Facts, handler: str) -> NestedOutcome:
    """A profile that forbids mounts must be left; a rule for processes without capabilities hits rootless engines."""
    lsm, enforcing = facts.kernel.lsm, facts.kernel.selinux_enforcing
    modules = (lsm.value or "").split(",")
    # Where AppArmor is not active, or nobody knows, asking for Unconfined changes nothing.
    apparmor = lsm.value is None or "apparmor" in modules
    requests = ([_APPARMOR] if apparmor else []) + ([_SELINUX] if enforcing.value else [])
    trial = facts.nested.trial
    if trial.value is None:
        return judge(Outcome.not_read("whether a rootless engine gets a user namespace", trial), *requests)
    steps = trial.value.step("rootless user namespace"), trial.value.step("rootless tmpfs")
    seen = seen_of(trial.value, *(step.name for step in steps))
    switch = facts.kernel.apparmor_restrict_unprivileged_userns
    if denied := next((step for step in steps if step.result == "failed" and step.errno in ("EPERM", "EACCES")), None):
        message = f"{denied.name}: {denied.errno} for UID 1000 without capabilities, so no rootless engine starts"
        remediation = _ALLOW.format(setting=_OF_UBUNTU if switch.value else _OF_DEBIAN)
        return _of_rootless(Outcome.fail("RootlessDenied", message, seen, switch, remediation=remediation), requests)
    if doubtful := next((step for step in steps if step.result == "unknown"), None):
        message = f"unknown whether {doubtful.name} works: {doubtful.reason}"
        return _of_rootless(Outcome.unknown(doubtful.kind or "not-tried", message, seen, lsm), requests)
    if enforcing.value:
        message = "SELinux enforces, so the Pod needs the type container_engine_t; unknown whether the policy has it"
        return judge(Outcome.warn(message, lsm, enforcing, seen), *requests)
    if lsm.value is None:
        message = "unknown which security modules are active; UID 1000 gets its own user namespace"
        return judge(Outcome.warn(message, lsm, seen), *requests)
    words = "the Pod needs AppArmor's Unconfined" if requests else "the Pod must turn off no security module"
    return judge(Outcome.passed(f"{words}; UID 1000 gets its own user namespace", lsm, seen), *requests)


def _of_rootless(outcome: Outcome, requests: list[PodRequest]) -> NestedOutcome:
    """The Pod's own root is not affected by refusals for a process without capabilities."""
    return NestedOutcome(outcome=outcome, pod=tuple(requests), decides=("rootless",))


CHECKS = (
    NestedCheck(
        id="nested-lsm",
        levels=("build", "rootless"),
        question="Which confinement of AppArmor and SELinux must the Pod turn off?",
        why="The runtime's AppArmor profile forbids mount(2), SELinux's container_t too. Ubuntu forbids mounts to user "
        "namespaces that a process without capabilities made.",
        reasons=("RootlessDenied",),
        documentation="kubernetes.io, Restrict a Container's Access to Resources with AppArmor; container_selinux(8)",
        check=check_lsm,
    ),
)
