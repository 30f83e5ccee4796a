"""Attempts on a node, and its mount table: directories of the kubelet and the runtime, a tmpfs, and volumes of Pods."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence

from probe.facts.boot.mounts import boot_automounts, gather_mounts
from probe.facts.filesystems import attempts
from probe.facts.filesystems.meaning import not_tried
from probe.facts.filesystems.revealing import cgroup2_options, cgroup_controllers, visibility, writable_sysfs
from probe.facts.filesystems.rules import Subject
from probe.facts.filesystems.volumes import volume_subjects
from probe.facts.model import MountFacts
from probe.facts.not_entered import out_of_sight
from probe.facts.tried import Attempt
from probe.host.host import Host
from probe.host.idmap import Answer
from probe.host.mount_table import MountTable
from probe.host.mountinfo import Mount
from probe.reading import Reading
from probe.terms import Role

Row = tuple[Subject, Answer | Attempt]

_BELOW: Mapping[Role, tuple[str, ...]] = {
    "runtime-root": ("io.containerd.grpc.v1.cri/sandboxes", "overlay-containers"),
    "overlay-layers": ("snapshots", "overlay"),
}
"""Where containerd and CRI-O keep the files that they add to each Pod, and the layers of images."""
_IDMAPPED_LAYER = "ovl-idmapped"  # containerd, core/mount: beginning of the name of a temporary directory
_ORDER: tuple[Role, ...] = ("runtime-root", "overlay-layers", "kubelet-root", "tmpfs")


def try_node(
    host: Host,
    bench: attempts.Bench,
    entered: Reading[bool],
    table: MountTable,
    kubelet_root: str,
    directories: Mapping[Role, str],
) -> list[Row]:
    """Rows of the file systems below *directories*, which all Pods need, then of all current volumes of Pods."""
    subjects = {role: _directory(host, table, role, path) for role, path in directories.items()}
    # Mount tables contain resolved paths only: no volume matches a root directory with a symlink.
    volumes = volume_subjects(host, table, host.resolve(kubelet_root).value or kubelet_root)
    if bench.userns_fd < 0:
        why = "no user namespace could be made to try it with"
        untried = [(subjects | {"tmpfs": attempts.TMPFS})[role] for role in _ORDER]
        return [(subject, not_tried(subject, "not-tried", why)) for subject in (*untried, *volumes)]
    held = attempts.held_devices(host.processes().value or (), host)
    rows: dict[Role, Row] = {
        role: row for role, subject in subjects.items() if (row := out_of_sight(subject, entered, table))
    }
    layers = subjects["overlay-layers"]
    if layers.role not in rows and (untried_overlay := attempts.without_overlay(host, layers)):
        rows[layers.role] = layers, untried_overlay
    needed = [attempts.TMPFS, *(subject for role, subject in subjects.items() if role not in rows)]
    tried = attempts.try_subjects(bench, [*needed, *volumes], table, held)
    rows |= {subject.role: (subject, answer) for subject, answer in tried[: len(needed)]}
    return [*(rows[role] for role in _ORDER), *tried[len(needed) :]]


def without_vanished(rows: Sequence[Row], mounts: Sequence[Mount] | None) -> list[Row]:
    """*rows* without volumes that are missing in *mounts*, which was read afterwards.

    The attempt on an unmounted volume tried the directory underneath. If its file system is still mounted for another
    Pod, the row becomes unknown.
    """
    if mounts is None:
        return list(rows)
    there = {(mount.mount_point, mount.device) for mount in mounts}
    devices = {mount.device for mount in mounts}
    kept: list[Row] = []
    for subject, answer in rows:
        linked = subject.linked and subject.device in devices
        if subject.role != "volume" or linked or (subject.path, subject.device) in there:
            kept.append((subject, answer))
        elif subject.device in devices:
            kept.append((subject, not_tried(subject, "not-tried", "it was unmounted while it was tried")))
    return kept


def _directory(host: Host, table: MountTable, role: Role, path: str) -> Subject:
    """Subject for a directory of the node, or for its nearest existing ancestor.

    A directory below, in which the files of Pods lie, takes its place where it is on another mount or disk.
    """
    found = attempts.existing(host, path).value or path
    for name in _BELOW.get(role, ()):
        below = attempts.existing(host, f"{path}/{name}").value or found
        mount, other = table.mount_of(found), table.mount_of(below)
        if mount and other and other.mount_point != mount.mount_point:
            return attempts.subject_of(table, role, below)
    return attempts.subject_of(table, role, found)


def mount_facts(
    host: Host, mounts: tuple[Mount, ...], table: MountTable, root_dir: str, held: dict[Role, str]
) -> MountFacts:
    """The mount table, as far as checks need it; *held* has the paths that the kubelet and the runtime need."""
    pods = attempts.existing(host, f"{root_dir}/pods")
    return MountFacts(
        count=len(mounts),
        proc=visibility(table, "proc"),
        sysfs=visibility(table, "sysfs"),
        pods_options=pods.parse(lambda path: _options_of(table, path)),
        pods_unbindable=bool(pods.value and _is_unbindable(table, pods.value)),
        root_mode=host.status("/").parse(lambda root: stat.S_IMODE(root.mode)),
        idmapped_layers=sum(
            mount.mount_point.rpartition("/")[2].startswith(_IDMAPPED_LAYER)
            for mount in mounts
            if _IDMAPPED_LAYER in mount.mount_point
        ),
        cgroup2_options=cgroup2_options(mounts),
        cgroup_controllers=cgroup_controllers(table),
        writable_sysfs=writable_sysfs(mounts),
        at_boot=gather_mounts(host, table, held),
        boot_automounts=boot_automounts(table),
    )


def _is_unbindable(table: MountTable, path: str) -> bool:
    mount = table.mount_of(path)
    return mount is not None and "unbindable" in mount.propagation


def _options_of(table: MountTable, path: str) -> tuple[str, ...]:
    mount = table.mount_of(path)
    if mount is None:
        raise ValueError("lies in no mount of the table")
    return mount.options
