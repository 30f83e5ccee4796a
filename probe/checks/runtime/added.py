"""Additions of the runtime to each container: containerd's base specification, CRI-O's own configuration and hooks."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from probe.checks.check import NOT_MET, Check, Outcome
from probe.checks.remedies.around import AROUND
from probe.checks.remedies.platforms import inline
from probe.checks.remedies.runtime import restart
from probe.checks.runtime.around import (
    daemon_of,
    handler_around,
    oci_runtime_of,
    surroundings_of,
    told_by,
)
from probe.checks.runtime.refusals import (
    IN_THE_IMAGE,
    Refusal,
    has_unclear_time,
    is_defective,
    is_late_and_missing,
    is_unclear_hook,
    is_unclear_mount,
    own_variable,
    refused_device,
    refused_hook,
    refused_mount,
    steps_of,
    unfound_of,
)
from probe.checks.runtime.soft_limits import CPU_TIME, OPEN_FILES, refused_limit
from probe.checks.runtime.sysctls import is_of_an_interface, is_of_the_node, is_ping_range, refused_sysctl
from probe.facts.around import Added, Hook
from probe.facts.defaults import BLOCK
from probe.facts.model import Facts
from probe.facts.runtime.oci import parse_version_number
from probe.finding import Evidence

_FITTED_RANGE = ["0", "2147483647"]
"""The setting that CRI-O fits to the groups of a Pod, since 1.31. *Source*: cri-o/cri-o#8174."""
_FITTED_SINCE = (1, 31, 0)
_NAMESPACED = ("fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm", "net.")
"""Sysctls that CRI-O sets at all. *Source*: CRI-O, `pkg/config/sysctl.go`."""
_NO_LIMIT = 1 << 64
_FEW_FILES = 64
_SMALL = {CPU_TIME: 1, "RLIMIT_STACK": 64 << 10, "RLIMIT_DATA": 1 << 20, "RLIMIT_AS": _NO_LIMIT}
"""Seconds or bytes from which on each Pod ran. 1 GiB of address space was too little for runc, and for crun not."""


def check_base_spec(facts: Facts, handler: str) -> Outcome:
    """Passes what everyone may execute and set; the rest stops each container."""
    around, own = surroundings_of(facts), handler_around(facts, handler) or handler_around(facts, "")
    if around.value is None:
        return Outcome.not_read("what the runtime adds to each container", around)
    hooks = _general_hooks(facts)
    if own is None or (own.added.kind == "absent" and not hooks):
        if unread := _unread_hooks(facts):
            return unread
        seen = own.added if own else told_by(facts)
        return Outcome.passed("no base specification adds anything to containers", seen)
    if own.added.value is None and own.added.kind != "absent":
        return Outcome.not_read("what the runtime adds to each container", own.added)
    source, added = own.added.source, own.added.value or Added()
    whole = replace(added, hooks=(*added.hooks, *hooks))
    oci_runtime = oci_runtime_of(facts, handler)
    refusals = _refusals(facts, whole, source, oci_runtime)
    refusal = min(refusals, key=lambda each: each.reason not in NOT_MET, default=None)
    if whole.newer and refusal:
        doubt = f"unknown whether that is in force: {inline(source)} changed since the runtime started"
        unsure = Outcome.unknown("not-readable", f"{refusal.message}; {doubt}", *refusal.evidence)
        return replace(unsure, stands=refusal.reason in NOT_MET, remediation=AROUND["runtime-base-spec"])
    if refusal:
        return Outcome.fail(refusal.reason, refusal.message, *refusal.evidence)
    return _unread_hooks(facts) or _doubt(facts, whole, source, oci_runtime) or _well(whole, source)


def _general_hooks(facts: Facts) -> tuple[Hook, ...]:
    """Hooks that CRI-O runs with each container; it loads none whose program is not there.

    *Source*: containers/common, `pkg/hooks/1.0.0`, Validate.
    """
    files = facts.hooks.value.oci_hooks.value if facts.hooks.value else None
    general = files.always if files and _is_crio(facts) else ()
    return tuple(hook for hook in general if hook.steps and hook.steps[0].kind != "absent")


def _unread_hooks(facts: Facts) -> Outcome | None:
    """Unknown where CRI-O looks at hooks that could not be read, of which any may run with each container."""
    files = facts.hooks.value.oci_hooks if facts.hooks.value else None
    if files is None or not _is_crio(facts):
        return None
    what = "which hooks CRI-O runs with each container"
    if files.value is None:
        return None if files.kind in ("absent", "not-tried") else Outcome.not_read(what, files)
    if not files.value.unread:
        return None
    seen = Evidence(files.source, f"{files.value.unread} of {files.value.found} not read")
    return Outcome.unknown("not-readable", f"unknown {what}: some could not be read, or there are too many", seen)


def _refusals(facts: Facts, added: Added, source: str, oci_runtime: str) -> Iterator[Refusal]:
    """The reasons that stop each container, in the order of hooks, sysctls, mounts and limits."""
    ids = (facts.kubelet.value.ids_per_pod.value if facts.kubelet.value else None) or BLOCK
    daemon, around = daemon_of(facts).value, surroundings_of(facts).value
    own = (daemon.limits.value if daemon else None) or {}
    capabilities = daemon.effective_capabilities.value if daemon else None
    capabilities = -1 if capabilities is None else capabilities
    open_files = (around.open_files.value if around else None) or _NO_LIMIT
    found = (
        *(refused_hook(hook, oci_runtime) for hook in added.hooks),
        *(
            refused_sysctl(name, value, ids, source, added.now.get(name), added.tried.get(name))
            for name, value in _set(facts, added)
        ),
        *(refused_mount(mount, ids, source, oci_runtime) for mount in added.mounts),
        *(refused_device(device, oci_runtime) for device in added.devices),
        *(refused_limit(name, one, own, capabilities, open_files, source, oci_runtime) for name, one in added.limits),
    )
    return (refusal for refusal in found if refusal)


def _set(facts: Facts, added: Added) -> list[tuple[str, str]]:
    """The sysctls that are set as they are configured: CRI-O leaves some out, and fits the range of groups to a Pod."""
    if not _is_crio(facts):
        return list(added.sysctls)
    return [
        (name, value)
        for name, value in added.sysctls
        if name.startswith(_NAMESPACED) and not (is_ping_range(name) and value.split() == _FITTED_RANGE)
    ]


def _is_crio(facts: Facts) -> bool:
    return facts.runtime.value is not None and facts.runtime.value.name.value == "cri-o"


def _doubt(facts: Facts, added: Added, source: str, oci_runtime: str) -> Outcome | None:
    """The reasons that may stop each container, for all that is known."""
    if unclear := [hook for hook in added.hooks if is_unclear_hook(hook)]:
        message = f"unknown whether a Pod's own root may execute the hook {inline(unclear[0].path)}"
        return Outcome.unknown("not-readable", message, *steps_of(unclear[0]))
    if hasty := next((hook for hook in added.hooks if has_unclear_time(hook, oci_runtime)), None):
        message = f"unknown whether the {hasty.when} hook {inline(hasty.path)} has time to run: {hasty.timeout} seconds"
        return Outcome.unknown("not-tried", message, Evidence(hasty.path, f"timeout {hasty.timeout}"))
    if own := next(((hook, name) for hook in added.hooks if (name := own_variable(hook))), None):
        hook, name = own
        message = f"unknown whether the {hook.when} hook {inline(hook.path)} can run: its own {name} decides that"
        return Outcome.unknown("not-tried", message, Evidence(hook.steps[0].source, f"has a {name} of its own"))
    if lost := next(((hook, name) for hook in added.hooks if (name := unfound_of(hook))), None):
        hook, name = lost
        what = f"the {hook.when} hook {inline(hook.path)} can run for each container"
        message = f"unknown whether {what}: {inline(name)} is not in the runtime's own PATH"
        return Outcome.unknown("not-readable", message, Evidence(hook.steps[0].source, f"needs {name}"))
    if broken := [hook for hook in added.hooks if is_defective(hook)]:
        message = f"unknown whether the {broken[0].when} hook {inline(broken[0].path)} can run for each container"
        seen = broken[0].steps[0].parse(lambda program: program.defect)
        return Outcome.unknown("not-tried", message, seen)
    if not oci_runtime and (late := _late_and_missing(added)):
        message = f"the poststart hook {inline(late)} does not exist: runc and crun fail, other OCI runtimes may warn"
        return Outcome.unknown("not-readable", message, Evidence(late, problem="does not exist"))
    if added.newer:
        message = f"unknown what is in force: {inline(source)} changed since the runtime started"
        return Outcome.unknown("not-readable", message, Evidence(source, "newer"), remediation=restart(facts))
    fitted = [value for name, value in added.sysctls if is_ping_range(name) and value.split() == _FITTED_RANGE]
    if fitted and _is_crio(facts) and not _fits_the_range(facts):
        message = "unknown whether this CRI-O limits net.ipv4.ping_group_range to the groups of a Pod: 1.31 does"
        return Outcome.unknown("not-readable", message, Evidence(source, f"net.ipv4.ping_group_range = {fitted[0]}"))
    untried = [name for name, _ in _set(facts, added) if name not in added.tried or added.tried[name].value is None]
    lacked = [name for name, _ in _set(facts, added) if is_of_an_interface(name)]
    if alone := lacked + [name for name in untried if is_of_the_node(name)]:
        message = f"unknown whether a Pod may set the sysctl {inline(alone[0])}, which is set in each container"
        return Outcome.unknown("not-tried", message, Evidence(source, alone[0]))
    for name, one in added.limits:
        if 0 <= one.soft < _SMALL.get(name, 0):
            message = f"unknown whether programs run with {name} {one.soft}, which is set in each container"
            return Outcome.unknown("not-tried", message, Evidence(source, f"{name} {one.soft}"))
    if added.unjudged:
        named = ", ".join(map(inline, added.unjudged[:3]))
        message = f"unknown whether a user namespace allows {named}, which {inline(source)} sets in each container"
        return Outcome.unknown("not-tried", message, Evidence(source, named))
    for mount in added.mounts:
        if {"idmap", "ridmap"} & set(mount.options):
            message = (
                f"unknown whether {inline(mount.source.source)}, which each container binds, can be idmapped: not tried"
            )
            return Outcome.unknown("not-tried", message, Evidence(source, f"idmap at {mount.destination}"))
    if unclear_mounts := [mount for mount in added.mounts if is_unclear_mount(mount)]:
        first = unclear_mounts[0]
        what = f"a mount of {inline(first.fstype)}" if first.fstype else "a bind mount of a relative path"
        message = f"unknown whether a user namespace allows {what} at {inline(first.destination)} in each container"
        return Outcome.unknown("not-tried", message, Evidence(source, f"{first.fstype} at {first.destination}"))
    for source_of in (*(mount.source for mount in added.mounts), *(device.source for device in added.devices)):
        if source_of.value is None and source_of.kind not in ("absent", "not-tried"):
            return Outcome.not_read("whether the node has all that each container gets from it", source_of)
    return None


def _late_and_missing(added: Added) -> str:
    """The program of the first hook that is late and missing; empty without one."""
    return next((hook.path for hook in added.hooks if is_late_and_missing(hook)), "")


def _fits_the_range(facts: Facts) -> bool:
    version = facts.runtime.value.version.value if facts.runtime.value else None
    return (parse_version_number(version or "") or (0, 0, 0)) >= _FITTED_SINCE


def _well(added: Added, source: str) -> Outcome:
    later = [hook.path for hook in added.hooks if hook.when == IN_THE_IMAGE]
    if later:
        message = f"a startContainer hook runs {inline(later[0])} in each container, so each image must contain it"
        return Outcome.warn(message, Evidence(IN_THE_IMAGE, later[0]))
    if late := _late_and_missing(added):
        message = f"the poststart hook {inline(late)} does not exist: the OCI runtime logs a warning"
        return Outcome.warn(message, Evidence(late, problem="does not exist"))
    few = [one.soft for name, one in added.limits if name == OPEN_FILES and 0 <= one.soft < _FEW_FILES]
    if few:
        message = f"each container may open {few[0]} files, and the OCI runtime opens one for each mount of a Pod"
        return Outcome.warn(message, Evidence(source, f"{OPEN_FILES} {few[0]}"))
    counts = f"{len(added.hooks)} hooks, {len(added.sysctls)} sysctls, {len(added.mounts)} mounts"
    seen = Evidence("what the runtime adds", f"{counts}, {len(added.limits)} limits")
    return Outcome.passed("a user namespace allows all that the runtime adds to each container", seen)


CHECKS = (
    Check(
        id="runtime-base-spec",
        level="stateless",
        gating=True,
        question="Does a user namespace allow all that the runtime adds to each container?",
        why="containerd makes each container of a handler from a base specification, CRI-O adds its default sysctls, "
        "limits and hooks. A createContainer hook runs as the Pod's own root, and some sysctls and mounts are refused "
        "in a user namespace.",
        reasons=(
            "HookNotExecutable",
            "SysctlRefused",
            "MountRefused",
            "LimitRefused",
            "LimitTooSmall",
        ),
        remediation=AROUND["runtime-base-spec"],
        documentation="OCI runtime specification, config.md; containerd, docs/cri/config.md, base_runtime_spec; "
        "crio.conf(5), default_sysctls, hooks_dir; oci-hooks(5)",
        check=lambda facts: check_base_spec(facts, ""),
        per_handler=check_base_spec,
    ),
)
