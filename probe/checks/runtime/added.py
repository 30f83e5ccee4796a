"""What the runtime adds to each container of a handler: the base specification."""

from __future__ import annotations

import re
import stat

from probe.checks.check import Check, Outcome
from probe.checks.remedies.around import AROUND
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import handler_around, is_closed, is_unclear, mode_of, surroundings_of, told_by
from probe.facts.around import Added, Hook
from probe.facts.model import Facts
from probe.finding import Evidence

_AS_THE_POD = ("createContainer",)
"""Hooks that run in the container's namespaces and find their program on the node. *Source*: OCI specification."""
_IN_THE_IMAGE = "startContainer"

_PING_RANGE = "net.ipv4.ping_group_range"
_HIDDEN = re.compile(r"net\.(core\.xfrm_|ipv6\.route\.)")
"""Not there in a network namespace of another user namespace. *Source*: xfrm_sysctl_init, ipv6_route_sysctl_init."""
_IDS_PER_POD = 65536

_NOT_IN_USER_NAMESPACES = frozenset(
    {
        *("bpf", "btrfs", "configfs", "debugfs", "efivarfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "hugetlbfs"),
        *("nfs", "nfs4", "pstore", "securityfs", "selinuxfs", "squashfs", "tracefs", "vfat", "xfs"),
    }
)
"""File systems without FS_USERNS_MOUNT."""


def check_base_spec(facts: Facts, handler: str) -> Outcome:
    """What all may execute and set is harmless; the rest stops each container."""
    around, own = surroundings_of(facts), handler_around(facts, handler)
    if around.value is None:
        return Outcome.not_read("what the runtime adds to each container", around)
    if own is None or own.added.kind == "absent":
        seen = own.added if own else told_by(facts)
        return Outcome.passed("the runtime adds nothing to each container by a base specification", seen)
    added = own.added
    if added.value is None:
        return Outcome.not_read("what the runtime adds to each container", added)
    ids = (facts.kubelet.value.ids_per_pod.value if facts.kubelet.value else None) or _IDS_PER_POD
    reason, message, evidence = _refused(added.value, ids)
    if added.value.newer and reason:
        message = (
            f"{message}; whether that is in force is unknown: {inline(added.source)} changed since the runtime started"
        )
        return Outcome.unknown("not-readable", message, *evidence)
    if reason:
        return Outcome.fail(reason, message, *evidence)
    if unclear := [hook for hook in added.value.hooks if _is_unclear(hook)]:
        message = f"whether a Pod's own root may execute the hook {inline(unclear[0].path)} is unknown"
        return Outcome.unknown("not-readable", message, *_steps(unclear[0]))
    if added.value.newer:
        message = f"what is in force is unknown: {inline(added.source)} changed since the runtime started"
        return Outcome.unknown("not-readable", message, Evidence(added.source, "newer"))
    later = [hook.path for hook in added.value.hooks if hook.when == _IN_THE_IMAGE]
    if later:
        message = f"each image has to have {inline(later[0])}, which the base specification runs as startContainer hook"
        return Outcome.warn(message, Evidence(added.source, f"startContainer {later[0]}"))
    return Outcome.passed("nothing in the base specification is refused in a user namespace", _summary(added.value))


def _summary(added: Added) -> Evidence:
    return Evidence("base specification", f"{len(added.hooks)} hooks, {len(added.sysctls)} sysctls")


def _refused(added: Added, ids: int) -> tuple[str, str, tuple[Evidence, ...]]:
    """Reason, message and evidence of the first entry that stops each container with a user namespace."""
    for hook in added.hooks:
        program = hook.steps[0]
        if hook.when != _IN_THE_IMAGE and program.kind == "absent":
            message = f"the {hook.when} hook {inline(hook.path)} of each container is not there"
            return "HookNotExecutable", message, (Evidence(hook.path, problem=program.problem),)
        shut = [step for step in hook.steps if step.value and is_closed(step.value) and not is_unclear(step.value)]
        if hook.when in _AS_THE_POD and shut:
            message = (
                f"the {hook.when} hook {inline(hook.path)} runs as each Pod's own root, which may not "
                f"{'execute it' if shut[0] is program else f'search {inline(shut[0].source)}'}"
            )
            return "HookNotExecutable", message, _steps(hook)
    for name, value in added.sysctls:
        if _HIDDEN.match(name.replace("/", ".")) or (name.replace("/", ".") == _PING_RANGE and _beyond(value, ids)):
            message = f"the sysctl {inline(name)} = {inline(value)} of each container is refused in a user namespace"
            return "SysctlRefused", message, (Evidence("base specification", f"{name} = {value}"),)
    for destination, fstype in added.mounts:
        if fstype in _NOT_IN_USER_NAMESPACES:
            message = f"each container mounts {fstype} at {inline(destination)}, which no user namespace may"
            return "MountRefused", message, (Evidence("base specification", f"{fstype} at {destination}"),)
    return "", "", ()


def _beyond(value: str, ids: int) -> bool:
    """Whether a group of the range is not mapped. *Source*: net/ipv4/sysctl_net_ipv4.c, ipv4_ping_group_range."""
    return any(number.isdecimal() and int(number[:20]) >= ids for number in value.split())


def _is_unclear(hook: Hook) -> bool:
    """Whether a step could not be read, has an ACL, or a script may be executed and not be read."""
    if hook.when not in _AS_THE_POD:
        return False
    program = hook.steps[0].value
    unread = any(step.value is None or (is_closed(step.value) and is_unclear(step.value)) for step in hook.steps)
    return unread or program is None or not stat.S_ISREG(program.mode) or not program.mode & 0o004


def _steps(hook: Hook) -> tuple[Evidence, ...]:
    return tuple(
        mode_of(step.value, step.source) if step.value else Evidence(step.source, problem=step.problem)
        for step in hook.steps
    )


CHECKS = (
    Check(
        id="runtime-base-spec",
        level="stateless",
        gating=True,
        question="Does the base specification add nothing that a user namespace refuses?",
        why="containerd makes each container of a handler from a base specification. A createContainer hook in it runs "
        "as the Pod's own root, and some sysctls and mounts are refused in a user namespace.",
        reasons=("HookNotExecutable", "SysctlRefused", "MountRefused"),
        remediation=AROUND["runtime-base-spec"],
        documentation="OCI runtime specification, config.md; containerd, docs/cri/config.md, base_runtime_spec",
        check=lambda facts: check_base_spec(facts, ""),
        per_handler=check_base_spec,
    ),
)
