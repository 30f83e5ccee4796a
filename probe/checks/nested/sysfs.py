"""Can privileged Pods run inside a Pod?"""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, judge, seen_of, stopped
from probe.facts.model import Facts
from probe.finding import Evidence
from probe.nested import PodRequest

_TMPFS = (
    PodRequest("tmpfs", "/run", "systemd needs an empty /run"),
    PodRequest("tmpfs", "/tmp", "else systemd mounts its own, which needs more rights"),  # noqa: S108
    PodRequest("environment", "container=docker", "systemd then skips what a container may not do"),
)
_OFFER = (
    "Offer a writable sysfs: mount one in its own network namespace below a directory, and give that directory to the "
    "Pod by hostPath (usernetes#396). Only privileged inner Pods need it."
)


def check_sysfs(facts: Facts, handler: str) -> NestedOutcome:
    """A Pod has a read-only /sys: the kernel gives its root another read-only one, and no writable one."""
    what = "no inner container gets /sys"
    uncover = "Uncover /sys in the runtime's mount namespace."
    trial, bad = facts.nested.trial, stopped(facts, ("sysfs",), what, "NestedSysfsRefused", uncover)
    if bad or trial.value is None:
        return judge(bad or Outcome.not_read("whether inner containers get /sys", trial), *_TMPFS)
    seen = seen_of(trial.value, "sysfs", "writable sysfs")
    offered = facts.mounts.value.writable_sysfs if facts.mounts.value else ()
    if offered or trial.value.step("writable sysfs").result == "passed":
        where = Evidence("writable sysfs", ", ".join(offered)) if offered else seen
        return judge(Outcome.passed("inner containers get /sys; a writable one is offered", seen, where), *_TMPFS)
    message = "inner containers get a read-only /sys; privileged ones fail, since the node offers no writable one"
    return judge(Outcome.warn(message, seen, remediation=_OFFER), *_TMPFS)


CHECKS = (
    NestedCheck(
        id="nested-sysfs",
        levels=("system",),
        question="Can privileged Pods run inside a Pod?",
        why="kube-proxy and CNI plugins of an inner Kubernetes are privileged, and a runtime mounts /sys writable for "
        "them. The kernel allows that only if a writable one is visible.",
        reasons=("NestedSysfsRefused",),
        documentation="mount_namespaces(7); opencontainers/runc#5309; usernetes#396",
        check=check_sysfs,
    ),
)
