"""Judge of mounts of CDI specifications: bound as they are by CDI libraries before 1.1.0, since then with a mapping.

Seen with runc 1.3.6, crun 1.21 and 1.28.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from msgspec.structs import replace

from probe.checks.devices.fault import Circumstances, Fault, not_looked_at
from probe.checks.remedies.devices import MAP_MOUNTS, READABLE
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import is_closed, is_unclear, mode_of
from probe.checks.runtime.refusals import refused_mount
from probe.facts.around import AddedMount, Place
from probe.facts.devices.model import CdiMount, is_bind, mapping_of
from probe.finding import Evidence
from probe.reading import Reading

_CRASHES = ((1, 21, 0), (1, 28, 0))
"""Oldest and newest release of crun that was seen to crash on a mount without a type in a user namespace."""
_MADE_IN_A_POD = ("tmpfs", "mqueue", "devpts", "proc", "sysfs", "overlay")


def judge_mount(mount: CdiMount, seen: Circumstances) -> Iterator[Fault]:
    """Faults of one mount."""
    if seen.oci_runtime == "crun" and not mount.type and is_bind(mount):
        yield _without_type(mount, seen)
    if not is_bind(mount):
        yield from _made(mount, seen)
        return
    source, way = inline(mount.source), seen.way(mount.source)
    if not way or (way[0].value is None and way[0].kind != "absent"):
        yield not_looked_at("the mount of", source, way[0] if way else None)
        return
    if way[0].value is None:
        yield Fault("fails", "MountMissing", f"{source}, which is mounted with the device, does not exist")
        return
    maps = seen.devices.maps_mounts
    answers = [
        _judge(mount, bool(added), way[0].value, seen)
        for added in ({maps.value} if maps.kind is None else (True, False))
    ]
    worst = next((one for one in answers if one), None)
    if worst and not all(answers):
        yield Fault("unknown", "CdiVersionUnknown", f"{worst.message}; unknown which CDI library the runtime has")
    elif worst:
        yield worst


def _without_type(mount: CdiMount, seen: Circumstances) -> Fault:
    known = seen.oci_version is not None and _CRASHES[0] <= seen.oci_version <= _CRASHES[1]
    message = f"in a user namespace crun crashes on the mount of {inline(mount.source)}, which has no type"
    if not known:
        return Fault("unknown", "CrunMountType", f"unknown whether this crun has the fault of crun 1.28: {message}")
    return Fault("fails", "CrunMountType", message, "Add type: bind to the mount, or use a handler that runs runc.")


def _made(mount: CdiMount, seen: Circumstances) -> Iterator[Fault]:
    """Faults of a mount that binds nothing."""
    target = inline(mount.target)
    if mount.type in ("", "none", "bind"):
        message = f"the mount at {target} has neither the option bind nor rbind, which OCI runtimes refuse"
        yield Fault("fails", "MountRefused", message)
    elif refused := _refused(mount, AddedMount(destination=mount.target, fstype=mount.type), seen):
        yield refused
    elif mount.type not in _MADE_IN_A_POD:
        message = f"unknown whether a user namespace may mount {inline(mount.type)} at {target}"
        yield Fault("unknown", "MountNotTried", message)


def _refused(mount: CdiMount, added: AddedMount, seen: Circumstances) -> Fault | None:
    """Fault of a mount as a base specification could have it, too."""
    refusal = refused_mount(replace(added, options=mount.options), seen.ids_per_pod, "CDI", seen.oci_runtime)
    if refusal is None:
        return None
    return Fault("fails", "MountRefused", refusal.message.replace("each container", "each container with the device"))


def _judge(mount: CdiMount, maps: bool, place: Place, seen: Circumstances) -> Fault | None:
    """Fault of a bind mount whose source exists."""
    source = inline(mount.source)
    mapping, recursive = mapping_of(mount, maps), "rbind" in mount.options
    below = seen.devices.below.get(mount.source, 0)
    if not recursive and below < 0 and seen.oci_runtime != "crun":
        return Fault("unknown", "MountNotTried", f"unknown whether mounts lie below {source}")
    if not recursive and below and seen.oci_runtime != "crun":
        message = f"{source} has {below} mounts below it, so in a user namespace runc needs rbind (EINVAL)"
        return Fault("fails" if seen.oci_runtime else "unknown", "MountRefused", message)
    if mapping:
        return _mapped(mount.source, mapping == "ridmap" and recursive, seen)
    if refused := _refused(mount, AddedMount(destination=mount.target, source=Reading(mount.source, place)), seen):
        return refused
    needed = 5 if stat.S_ISDIR(place.mode) else 2 if stat.S_ISSOCK(place.mode) else 4  # connect(2) writes
    evidence = mode_of(place, mount.source)
    if place.mode & needed != needed:
        message = (
            f"{source} is mounted without a mapping, and its mode {stat.S_IMODE(place.mode):04o} denies other users"
        )
        return Fault("unknown" if is_unclear(place) else "fails", "MountNotReadable", message, READABLE, evidence)
    shut = next((step for step in seen.way(mount.source)[1:] if step.value and is_closed(step.value)), None)
    if shut is not None:
        message = f"unknown whether {source} can be bound: the Pod's root may not search {inline(shut.source)}"
        return Fault("unknown", "MountNotReadable", message, READABLE)
    return None


def _mapped(source: str, recursive: bool, seen: Circumstances) -> Fault | None:
    """Fault of a mount with a mapping, by the attempt at it."""
    key = (source, recursive)
    tried = next((one for one in seen.devices.mounts if (one.source, one.recursive) == key), None)
    if tried is None:
        message = f"unknown whether {inline(source)} can be idmapped: not tried"
        return Fault("unknown", "MountNotTried", message)
    row = tried.attempt
    if row.result == "supported":
        return None
    if row.result == "unknown":
        message = f"unknown whether {inline(source)} can be idmapped: {row.reason}"
        return Fault("unknown", "MountNotTried", message, evidence=Evidence(source, problem=row.reason))
    where = f", because of {inline(', '.join(tried.refusing))}" if tried.refusing else f" ({row.reason})"
    what = " with all mounts below it" if recursive else ""
    message = f"{inline(source)} cannot be idmapped{what}{where}, so the container does not start"
    evidence = Evidence(source, f"{row.fstype}: {row.step} {row.errno}")
    return Fault("fails", "MountNotIdmappable", message, MAP_MOUNTS, evidence)
