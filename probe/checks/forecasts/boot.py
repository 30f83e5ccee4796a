"""Forecast of the next boot: kernel, command line, sysctls and mounts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from probe.checks.forecasts.cgroups import FORCE, cgroup_version_after, cgroups_after, options_of, refuses_cgroup_v1
from probe.checks.forecasts.kernels import attempts_after, release_then
from probe.checks.forecasts.plan import Plan, Stop, kubelet_stops
from probe.checks.forecasts.restart import plan_restart
from probe.checks.kernel import USER_LIMIT
from probe.checks.remedies.platforms import inline, is_image, nested, quoted
from probe.facts.boot.command_line import cgroup_version_of, sysctls_of, value_of
from probe.facts.boot.loader import STAGED
from probe.facts.boot.model import BootFacts, MountAtBoot
from probe.facts.model import Facts, KernelFacts, MountFacts
from probe.facts.tried import NamespaceAttempt
from probe.forecast import Change
from probe.reading import Reading

_NESTED: Reading[Any] = Reading.without(
    "the next boot", "not-tried", "this node is a container: the machine around it decides kernel, sysctls and mounts"
)
_IMAGE: Reading[Any] = Reading.without(
    "the next boot", "not-tried", "this system sets sysctls and mounts from its own configuration, which is not read"
)
_DEFAULT = "the kernel's default"
_ZERO_BY_DEFAULT = r"3\.10\.0-.*el7"


def plan_boot(facts: Facts) -> Plan:
    """Facts after the next boot, as far as files tell them."""
    boot = facts.boot.value
    if nested(facts) or is_image(facts) or boot is None:
        doubt = _NESTED if nested(facts) else _IMAGE if is_image(facts) else facts.boot
        return Plan(event="boot", after=facts, doubts=(doubt,))
    limits, limit_changes = _limits(facts.kernel, boot)
    options = tuple(_parameters(boot))
    mounts = facts.mounts.value.at_boot if facts.mounts.value else ()
    moved = tuple(_moves(mounts))
    kernel = tuple(_kernel(facts.kernel, boot))
    own = (*kernel, *options, *limit_changes, *moved)
    restart = plan_restart(facts)  # the runtime starts anew, too
    after = _after(restart.after, boot, limits) if own else restart.after
    return Plan(
        event="boot",
        after=after,
        changes=(*own, *restart.changes),
        doubts=(*_doubts(facts, boot, mounts), *(restart.doubts if facts.runtime.value else ())),
        stops=(*kubelet_stops(after), *_stops(mounts), *restart.stops),
        pending=_pending(boot),
        remediation=_remediation(kernel, mounts, limit_changes),
    )


def _after(facts: Facts, boot: BootFacts, limits: dict[str, Reading[int]]) -> Facts:
    kernel, release = facts.kernel, release_then(boot)
    namespace = _namespace(facts, limits)
    link = kernel.user_namespace_file
    if boot.built_in.value is False:
        link = Reading.without(boot.built_in.source, "absent", "CONFIG_USER_NS is not set")
        namespace = replace(namespace, result="refused", errno="EINVAL", step="unshare", reason="Invalid argument")
    source = boot.entry.source
    version = cgroup_version_after(boot)
    return replace(
        facts,
        kernel=replace(
            kernel,
            release=Reading(source, release) if release else kernel.release,
            namespace_limits=limits,
            user_namespace_file=link,
            cgroup_version=Reading(source, version) if version else kernel.cgroup_version,
        ),
        user_namespace=namespace,
        mounts=facts.mounts.parse(lambda mounts: cgroups_after(_options_after(mounts), kernel, version)),
        attempts=attempts_after(facts, release),
    )


def _limits(kernel: KernelFacts, boot: BootFacts) -> tuple[dict[str, Reading[int]], tuple[Change, ...]]:
    """Limits of namespaces after the boot, and those that change.

    What was set while the node ran and no file keeps becomes the kernel's default, which is known to be above 0; a
    limit above 0 that no file sets counts as unchanged.
    """
    given = {name: Reading(boot.entry.source, value) for name, value in sysctls_of(options_of(boot)).items()}
    zero = re.match(_ZERO_BY_DEFAULT, release_then(boot) or kernel.release.value or "")
    limits, changes = dict(kernel.namespace_limits), []
    for name, limit in kernel.namespace_limits.items():
        wins = kernel.boot_limits.get(name) or given.get(name)
        if limit.value is None:
            continue
        if wins is None and zero and name == USER_LIMIT:
            wins = Reading(_DEFAULT, 0)
        if wins is not None and wins.value != limit.value:
            limits[name] = Reading(wins.source, wins.value)
            changes.append(Change(what=name, now=str(limit.value), then=str(wins.value), source=inline(wins.source)))
        elif wins is None and limit.value == 0 and not boot.unread_sysctls:
            limits[name] = Reading(_DEFAULT, 1)
            changes.append(Change(what=name, now="0", then=_DEFAULT, source="no file of sysctl.d sets it"))
    return limits, tuple(changes)


def _namespace(facts: Facts, limits: dict[str, Reading[int]]) -> NamespaceAttempt:
    """The attempt of today with the limit of then."""
    attempt, now, then = facts.user_namespace, facts.kernel.namespace_limits.get(USER_LIMIT), limits.get(USER_LIMIT)
    if now is None or then is None or (now.value == 0) == (then.value == 0):
        return attempt
    if then.value == 0:
        return replace(attempt, result="refused", kind="", errno="ENOSPC", step="unshare", reason="No space left")
    return replace(attempt, result="supported", kind="", errno="", step="done", reason="")


def _kernel(kernel: KernelFacts, boot: BootFacts) -> Iterator[Change]:
    now, then = kernel.release.value, release_then(boot)
    if now and then and now != then:
        yield Change(what="kernel", now=now, then=then, source=boot.entry.source)


def _parameters(boot: BootFacts) -> Iterator[Change]:
    """Parameters of the next command line that differ, then those that a new entry would have."""
    now, then = boot.running_options.value, boot.entry.value.options if boot.entry.value else None
    if now is None or then is None:
        return
    yield from _differences(now, then, boot.entry.source)
    later = boot.configured.value
    if later is not None and set(later) != set(then):
        source = f"{boot.configured.source}, from which the next new entry is made"
        yield from _differences(then, later, source)


def _differences(now: tuple[str, ...], then: tuple[str, ...], source: str) -> Iterator[Change]:
    for name in dict.fromkeys(option.partition("=")[0] for option in (*now, *then)):
        old, new = value_of(now, name), value_of(then, name)
        if old != new:
            yield Change(what=name, now=_said(old), then=_said(new), source=source)


def _said(value: str | None) -> str:
    return "not set" if value is None else inline(value) or "set"


def _moves(mounts: tuple[MountAtBoot, ...]) -> Iterator[Change]:
    for each in mounts:
        now, then = each.now, each.then.value
        if then is not None and (then != now):
            lost = f", as neither fstab nor a unit mounts {inline(then.lost)} again" if then.lost else ""
            yield Change(
                what=each.role,
                now=_mount_words(now.fstype, now.mount_point, now.options),
                then=_mount_words(then.fstype, then.mount_point, then.options) + lost,
                source=each.then.source,
            )


def _mount_words(fstype: str, point: str, options: tuple[str, ...]) -> str:
    return f"{inline(fstype)} on {inline(point)}{', ' if options else ''}{','.join(options)}"


def _options_after(mounts: MountFacts) -> MountFacts:
    root = next((each for each in mounts.at_boot if each.role == "kubelet-root"), None)
    if root is None or root.then.value is None or root.then.value.options == root.now.options:
        return mounts
    options = tuple(option for option in root.then.value.options if option != "ro")  # that one is a stop of its own
    return replace(mounts, pods_options=Reading(root.then.source, options))


def _stops(mounts: tuple[MountAtBoot, ...]) -> Iterator[Stop]:
    for each in mounts:
        then = each.then.value
        if then is not None and "ro" in then.options and "ro" not in each.now.options:
            yield Stop(
                reason="KubeletDirectoryNotWritable" if each.role == "kubelet-root" else "DirectoryNotWritable",
                message=f"{inline(then.mount_point)}, which holds the {each.role}, will be read-only",
                remediation=_fix_fstab(then.mount_point),
            )


def _pending(boot: BootFacts) -> str:
    if boot.reboot_required:
        return "the system asks for a reboot (/run/reboot-required)"
    return f"a new deployment is staged ({boot.entry.source})" if boot.entry.source in STAGED else ""


def _doubts(facts: Facts, boot: BootFacts, mounts: tuple[MountAtBoot, ...]) -> Iterator[Reading[Any]]:
    """Readings without value, each of which may hide a change of the verdict."""
    yield from boot.unread_sysctls
    yield from boot.unsettled
    if boot.entry.value is None:
        yield boot.entry
    elif not boot.entry.value.release and set(boot.installed) - {facts.kernel.release.value}:
        yield Reading.without(boot.entry.source, "not-readable", "the name of its kernel image has no release")
    elif boot.entry.value.release in boot.incomplete:
        release = boot.entry.value.release
        problem = f"kernel {release} boots next and has no initramfs: its installation may be incomplete"
        yield Reading.without("/boot", "not-readable", problem)
    elif boot.entry.value.options is None:
        yield Reading.without(boot.entry.source, "not-readable", "does not tell the command line of the kernel")
    elif refuses_cgroup_v1(boot) and cgroup_version_of(boot.running_options.value or ()) != 1:
        problem = f"asks for cgroup v1, which systemd {boot.systemd.value} refuses unless {FORCE}=1 is set"
        yield Reading.without(boot.entry.source, "not-tried", problem)
    elif cgroup_version_of(boot.running_options.value or ()) and not cgroup_version_of(options_of(boot)):
        yield Reading.without(boot.entry.source, "not-tried", "leaves the version of cgroups to systemd's default")
    if facts.kernel.release.value is None:
        yield facts.kernel.release
    for each in mounts:
        if each.then.value is None:
            yield each.then
    if facts.mounts.value is None:
        yield facts.mounts


def _remediation(kernel: tuple[Change, ...], mounts: tuple[MountAtBoot, ...], limits: tuple[Change, ...]) -> str:
    """Remediation by what alone changes; empty where the finding knows better."""
    moved = [each.then.value for each in mounts if each.then.value is not None and each.then.value != each.now]
    if kernel and not moved and not limits:
        image = quoted(f"/boot/vmlinuz-{kernel[0].now}")
        return (
            "Make the running kernel the default of the boot loader again (grubby; else GRUB_DEFAULT in "
            "/etc/default/grub, then update-grub), or install a newer one:\n"
            f"  ls {image} && grubby --set-default {image}"
        )
    return _fix_fstab(moved[0].mount_point) if moved and not kernel and not limits else ""


def _fix_fstab(point: str) -> str:
    return (
        "Give the mount in /etc/fstab the file system and the options that it has now, and verify it:\n"
        f"  findmnt -T {quoted(point)}; findmnt --verify; systemctl daemon-reload"
    )
