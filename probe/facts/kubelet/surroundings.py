"""Limits on the kubelet, and whether the container runtime sees the kubelet's mounts."""

from __future__ import annotations

import os.path

from msgspec import Struct

from probe.facts.around import NO_PLACE, NO_PROGRAM, KubeletAround, Propagation
from probe.facts.model import KubeletFacts, RuntimeFacts
from probe.facts.nearest import nearest
from probe.facts.runtime.daemon import read_label, read_search_path
from probe.facts.runtime.handlers import first_program
from probe.facts.runtime.limits import parse_limits
from probe.host.host import Host
from probe.host.mount_table import MountTable
from probe.host.mountinfo import Mount, parse_mountinfo
from probe.host.places import Place
from probe.host.processes import status_field
from probe.reading import Reading, problem_of

_RUN_PROGRAMS = ("kubelet", "rke2", "k0s")
"""Distributions whose kubelet is a program of its own, and so has the PATH that its process shows."""
_FOLDERS = 30
Directory = tuple[str, str]
"""The device of a file system, and a path in it."""
_NONE: Directory = ("", "")


def gather_kubelet_around(
    host: Host, kubelet: Reading[KubeletFacts], runtime: Reading[RuntimeFacts]
) -> Reading[KubeletAround]:
    """The conditions in which the kubelet makes the volumes of Pods; a problem where no kubelet is known."""
    if kubelet.value is None:
        return problem_of(kubelet)
    pid = kubelet.value.pid
    root_dir = kubelet.value.root_dir
    path = root_dir.value or ""
    resolv_conf = _resolv_conf(host, pid, kubelet.value.resolv_conf)  # before the others, of which a volume may hang
    return Reading(
        f"/proc/{pid}",
        KubeletAround(
            effective_capabilities=host.process_status(pid).parse(
                lambda fields: int(status_field(fields, "CapEff"), 16)
            ),
            seccomp=host.process_status(pid).parse(lambda fields: int(fields.get("Seccomp", "0"))),
            label=read_label(host, pid),
            propagation=_propagation(host, pid, runtime, path) if path else problem_of(root_dir),
            root_dir=host.places(pid, [path])[path] if path else problem_of(root_dir),
            pods_dir=nearest(host, pid, f"{path}/pods") if path else problem_of(root_dir),
            limits=host.read_text(f"/proc/{pid}/limits").parse(parse_limits),
            logs_dir=_logs(host, pid, kubelet.value.logs_dir),
            cgroup_driver=kubelet.value.cgroup_driver,
            resolv_conf=resolv_conf,
            mount=_mount_program(host, pid) if kubelet.value.distribution in _RUN_PROGRAMS else NO_PROGRAM,
        ),
    )


def _mount_program(host: Host, pid: int) -> Reading[str]:
    """*Source*: k8s.io/mount-utils, mount_linux.go; Go, exec.LookPath."""
    path = read_search_path(host, pid)
    if path.value is None:
        return problem_of(path)
    return first_program(host, pid, [f"{folder}/mount" for folder in path.value[:_FOLDERS]])


def _logs(host: Host, pid: int, directory: Reading[str]) -> Reading[Place]:
    return nearest(host, pid, directory.value) if directory.value is not None else problem_of(directory)


def _resolv_conf(host: Host, pid: int, file: Reading[str]) -> Reading[Place]:
    if file.value is None:
        return NO_PLACE if file.kind == "absent" else problem_of(file)
    return host.places(pid, [file.value])[file.value] if file.value else NO_PLACE


def _propagation(host: Host, kubelet: int, runtime: Reading[RuntimeFacts], path: str) -> Reading[Propagation]:
    confinement = runtime.value.confinement if runtime.value else problem_of(runtime)
    if confinement.value is None:
        return problem_of(confinement)
    daemon = confinement.value.pid
    ours, theirs = (host.read_link(f"/proc/{pid}/ns/mnt") for pid in (kubelet, daemon))
    if ours.value is None or theirs.value is None:
        return problem_of(ours if ours.value is None else theirs)
    if ours.value == theirs.value:
        return Reading(ours.source, Propagation(same_namespace=True, arrives=True, kubelet="", runtime=""))
    made, seen = (_look(host, pid, path) for pid in (kubelet, daemon))
    if made.value is None or seen.value is None:
        return problem_of(made if made.value is None else seen)
    arrives = receives(made.value.mount, seen.value.mount, _mounts(host, 1).value or ())
    answer = Propagation(
        same_namespace=False,
        arrives=bool(arrives),
        same_directory=_is_same(made.value, seen.value),
        kubelet=" ".join(made.value.mount.propagation),
        runtime=" ".join(seen.value.mount.propagation),
    )
    unknown: Reading[Propagation] = Reading.without(
        seen.source, "not-readable", f"where {answer.runtime} receives mounts from is not told"
    )
    return Reading(seen.source, answer) if arrives is not None else unknown


def receives(made: Mount, seen: Mount, others: tuple[Mount, ...]) -> bool | None:
    """True when mounts on *made* appear on *seen*, in another mount namespace; None when that is unknown.

    *Source*: mount_namespaces(7): it does in the same peer group, and in a slave of it, or of its slaves.
    """
    group, own = _group(made, "shared"), _group(seen, "shared")
    if not group:
        return False
    if own == group:
        return True
    masters = {_group(mount, "shared"): _group(mount, "master") for mount in (*others, made, seen)}
    above, passed = _group(seen, "master"), set[str]()
    while above and above != group:
        if above in passed or above not in masters:
            return None
        passed.add(above)
        above = masters[above]
    return bool(above)


def _group(mount: Mount, kind: str) -> str:
    return next((each.partition(":")[2] for each in mount.propagation if each.startswith(f"{kind}:")), "")


class _Seen(Struct, frozen=True):
    """The directory that a process finds at the kubelet's root."""

    mount: Mount
    """The mount that holds the volumes of Pods, or will."""
    root: Directory | None
    pods: Directory | None


def _look(host: Host, pid: int, root_dir: str) -> Reading[_Seen]:
    root, pods = host.places(pid, [root_dir, f"{root_dir}/pods"]).values()
    real = next((place.value.path for place in (pods, root) if place.value), root_dir)

    def seen(table: MountTable) -> _Seen:
        return _Seen(_demand(table.mount_of(real)), _directory(table, root), _directory(table, pods))

    return _mounts(host, pid).parse(lambda mounts: seen(MountTable(mounts)))


def _directory(table: MountTable, place: Reading[Place]) -> Directory | None:
    """The directory, wherever it is mounted; _NONE where there is none, None for an unknown one."""
    mount = table.mount_of(place.value.path) if place.value else None
    if mount is None or place.value is None or mount.root.endswith("//deleted"):
        return _NONE if place.kind == "absent" else None
    beneath = os.path.relpath(place.value.path, mount.mount_point)
    return mount.device, os.path.normpath(os.path.join(mount.root, beneath))


def _is_same(made: _Seen, seen: _Seen) -> bool | None:
    """True when both find one directory where the kubelet makes those of Pods; None when that is unknown."""
    ours, theirs = (made.root, seen.root) if made.pods == _NONE else (made.pods, seen.pods)
    return None if ours is None or theirs is None else ours == theirs


def _demand(mount: Mount | None) -> Mount:
    if mount is None:
        raise ValueError("no mount holds the kubelet's root directory")
    return mount


def _mounts(host: Host, pid: int) -> Reading[tuple[Mount, ...]]:
    return host.mountinfo(pid).parse(parse_mountinfo)
