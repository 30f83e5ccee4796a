"""Does the default seccomp profile let an engine work?"""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, judge
from probe.facts.model import Facts
from probe.nested import PodRequest

_UNCONFINED = PodRequest(
    "seccomp", "Unconfined", "containerd's RuntimeDefault refuses pivot_root(2) and keyctl(2) to every container"
)
_DEFAULT = PodRequest("seccomp", "RuntimeDefault", "CRI-O's profile allows all that an engine calls")


def check_seccomp(facts: Facts, handler: str) -> NestedOutcome:
    """The profile is the runtime's own; the kubelet decides what a Pod gets that names none."""
    runtime, kubelet = facts.runtime.value, facts.kubelet.value
    if runtime is None:
        return judge(Outcome.not_read("the default seccomp profile", facts.runtime), _UNCONFINED)
    if runtime.name.value is None:
        return judge(Outcome.not_read("the default seccomp profile", runtime.name), _UNCONFINED)
    name = runtime.name
    default = kubelet.seccomp_default if kubelet else facts.kubelet
    if name.value == "cri-o":
        return judge(Outcome.passed("CRI-O's RuntimeDefault lets an engine work", name, default), _DEFAULT)
    if name.value != "containerd":
        message = f"the default profile of {name.value} is not known to the probe; Unconfined works everywhere"
        return judge(Outcome.warn(message, name), _UNCONFINED)
    without = {
        True: "a Pod that names no profile gets it, by the kubelet's seccompDefault",
        False: "a Pod that names no profile is unconfined",
        None: "unknown which profile a Pod gets if it names none",
    }[default.value if isinstance(default.value, bool) else None]
    message = f"containerd's RuntimeDefault refuses pivot_root and keyctl, so an engine needs Unconfined; {without}"
    return judge(Outcome.warn(message, name, default), _UNCONFINED)


CHECKS = (
    NestedCheck(
        id="nested-seccomp",
        levels=("build", "rootless"),
        question="Does the default seccomp profile let an engine work?",
        why="containerd's default profile allows mount(2) and unshare(2) to containers with CAP_SYS_ADMIN, and "
        "pivot_root(2) and keyctl(2) to none; CRI-O's allows all of them.",
        documentation="kubernetes.io, Restrict a Container's Syscalls with seccomp; containerd, contrib/seccomp",
        check=check_seccomp,
    ),
)
