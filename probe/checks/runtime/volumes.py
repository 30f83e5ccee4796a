"""Checks of volumes: may the kubelet mount them, and do the mounts reach the container runtime?"""

from __future__ import annotations

from msgspec.structs import replace

from probe.checks.check import Check, Outcome
from probe.checks.privileges import seccomp_words
from probe.checks.remedies.around import AROUND
from probe.checks.remedies.platforms import restart_kubelet
from probe.checks.runtime.confinement import binds
from probe.checks.runtime.names import no_kubelet
from probe.facts.model import Facts
from probe.facts.tried import Attempt
from probe.finding import Evidence
from probe.reading import Reading

_SYS_ADMIN = 21
_KUBELET_DOMAIN = "kubelet_t"
"""*Source*: containers/container-selinux, which labels the kubelet's program kubelet_exec_t."""


def check_propagation(facts: Facts) -> Outcome:
    """Fail when mounts of the kubelet do not propagate to the runtime, which then binds the empty directory below them.

    A service account token, for one, is on a tmpfs that the kubelet mounts. *Source*: mount_namespaces(7).
    """
    around = facts.kubelet_around
    found = around.value.propagation if around.value else None
    if found is None or found.value is None:
        return no_kubelet(facts, "whether the runtime sees the kubelet's mounts", found or around)
    if found.value.same_namespace:
        return Outcome.passed("kubelet and runtime share a mount namespace", Evidence(found.source, "the same"))
    seen = (
        Evidence("kubelet's mount of its root directory", found.value.kubelet or "private"),
        Evidence("runtime's mount of it", found.value.runtime or "private"),
    )
    if found.value.arrives:
        return Outcome.passed("the kubelet's mounts reach the runtime's mount namespace", *seen)
    message = "the kubelet's mounts do not reach the runtime, so Pods find an empty directory instead of a token"
    return Outcome.fail("VolumesNotPropagated", message, *seen)


def check_shared(facts: Facts) -> Outcome:
    """Fail when the runtime finds other directories of Pods than the kubelet, or none.

    It binds /etc/hosts and the termination log of each container from there.
    """
    around = facts.kubelet_around
    found = around.value.propagation if around.value else None
    if found is None or found.value is None:
        return Outcome.skipped("unknown, see runtime-mount-propagation", found or around)
    seen = Evidence(found.source, "not the kubelet's mount namespace")
    if found.value.same_directory is None:
        return Outcome.unknown("not-readable", "unknown whether the runtime sees the directories of Pods", seen)
    if found.value.same_directory:
        return Outcome.passed("kubelet and runtime see the same directories of Pods", Evidence(found.source, "same"))
    message = "the runtime's mount namespace has another directory, or none, at the path of the kubelet's Pods"
    return Outcome.fail("KubeletDirectoryHidden", message, seen)


def check_kubelet(facts: Facts) -> Outcome:
    """Fail when the kubelet lacks CAP_SYS_ADMIN: it then mounts no volume, while Pods without volumes still run.

    What else confines it shows by the volumes of Pods that are mounted, or is unknown.
    """
    around = facts.kubelet_around
    if around.value is None:
        return no_kubelet(facts, "what confines the kubelet", around)
    found = around.value.effective_capabilities
    if found.value is None:
        return no_kubelet(facts, "what confines the kubelet", found)
    seen = Evidence(found.source, f"CapEff {found.value:016x}")
    if not found.value >> _SYS_ADMIN & 1:
        message = "the kubelet runs without CAP_SYS_ADMIN, so it can mount no volume"
        return Outcome.fail("KubeletConfined", message, seen)
    seccomp, label = around.value.seccomp, around.value.label
    by = "a seccomp filter" if seccomp.value else ""
    if binds(label.value or "", facts, _KUBELET_DOMAIN):
        by = f"the security label {(label.value or '')[:80]}"
    shown = next((one for one in facts.attempts if one.role == "volume" and one.fstype == "tmpfs"), None)
    if around.value.mount.kind == "absent":
        return _without_mount(facts, around.value.mount, shown)
    if not by:
        return Outcome.passed("the kubelet may mount volumes", seen)
    if shown:
        return Outcome.passed(f"the kubelet has mounted volumes, though under {by}", seen, Evidence("volumes", "tmpfs"))
    message = f"unknown whether the kubelet may mount volumes: it runs under {by}, and no Pod has a tmpfs"
    unknown = Outcome.unknown("not-readable", message, seccomp.parse(seccomp_words), label)
    return replace(unknown, decides=True, stands=True)  # the kubelet has no part in a trial


def _without_mount(facts: Facts, program: Reading[str], shown: Attempt | None) -> Outcome:
    """Outcome for a kubelet without mount(8): a volume that is mounted all the same may be of an earlier kubelet."""
    message = f"the kubelet cannot run mount(8), as it does for each tmpfs: {program.problem}"
    install = "Install mount(8), of util-linux, or add its folder to PATH in the kubelet's unit, then:"
    remediation = f"{install}\n{restart_kubelet(facts)}"
    if shown:
        doubt = f"{message}; yet a Pod has a tmpfs, perhaps of an earlier kubelet"
        unknown = Outcome.unknown("not-readable", doubt, program, remediation=remediation)
        return replace(unknown, decides=True, stands=True)
    return Outcome.fail("MountProgramMissing", message, program, remediation=remediation)


CHECKS = (
    Check(
        id="kubelet-confinement",
        level="projected",
        gating=False,
        question="May the kubelet mount volumes?",
        why="Tokens, Secrets and memory-backed volumes are tmpfs that the kubelet mounts, by mount(8).",
        reasons=("KubeletConfined", "MountProgramMissing"),
        remediation=AROUND["kubelet-confinement"],
        documentation="capabilities(7), systemd.exec(5)",
        check=check_kubelet,
    ),
    Check(
        id="runtime-mount-propagation",
        level="projected",
        gating=False,
        question="Does the runtime see the kubelet's mounts?",
        why="In a mount namespace without propagation the runtime sees the empty directory below each volume: Pods "
        "start without their token, and no error is reported.",
        reasons=("VolumesNotPropagated",),
        remediation=AROUND["runtime-mount-propagation"],
        documentation="mount_namespaces(7), systemd.exec(5), MountFlags=",
        check=check_propagation,
    ),
)
