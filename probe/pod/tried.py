"""Attempts on a node with a volume: at its path, or with others of its driver."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from probe.pod.model import Node, Note, Reason
from probe.pod.spec import VolumeMount
from probe.pod.walk import KEEP_HOST, reason, with_command
from probe.report import FilesystemRow
from probe.tables.filesystems import READS_ONLY, what_works


class Mounted(Struct, frozen=True):
    """All mounts of one volume in the containers of a Pod."""

    mounts: tuple[VolumeMount, ...]

    @property
    def writable(self) -> bool:
        """True when some container mounts it read-write."""
        return any(not mount.read_only for mount in self.mounts)

    def paths(self, volume: str) -> tuple[str, ...]:
        """Paths on the node that containers mount: that of the *volume*, or what `subPath` names below it."""
        below = (mount.sub_path or "" for mount in self.mounts)
        return tuple(dict.fromkeys(posixpath.join(volume, one.lstrip("/")) if one else volume for one in below))


def mounted_at(node: Node, volume: str, mounted: Mounted) -> list[FilesystemRow]:
    """Rows of the paths that were tried; empty unless all of them were, and nothing else can be meant."""
    rows = [node.mounts.get(path) or _made(node.above.get(path)) for path in mounted.paths(volume)]
    found = [row for row in rows if row is not None]
    elsewhere = any(mount.sub_path_expr for mount in mounted.mounts) and any(row.mounts_below for row in found)
    return found if len(found) == len(rows) and not elsewhere else []


def _made(above: FilesystemRow | None) -> FilesystemRow | None:
    """The row of a directory that is yet to be made below *above*: it has no mounts below, and root owns it."""
    if above is None:
        return None
    return replace(above, mounts_below=0, below=(), usable="yes" if above.usable == "partly" else above.usable)


def judge_mount(
    field: str, rows: Sequence[FilesystemRow], mounted: Mounted, oci_runtime: str, notes: list[Note]
) -> Reason:
    """The Reason of a volume that was tried at its path, the worst of *rows*."""
    order = ("refused", "unknown", "supported")
    row = min(rows, key=lambda one: order.index(one.result))
    where = row.path or "it"
    if row.result == "refused":
        return reason(
            field, "fails", "tried", "FilesystemNotIdmappable", f"{where}: {row.reason}", way_around(row.fstype)
        )
    if row.result == "unknown":
        way = try_there(row.path) if row.path else ""
        return reason(field, "unknown", "unknown", "PathNotTried", f"{where}: {row.reason}", way)
    if any(one.mount_read_only for one in rows) and mounted.writable and oci_runtime != "crun":
        return _read_only(field, where, oci_runtime)
    if any(one.usable == "read-only" for one in rows) and mounted.writable:
        notes.append(Note(field=field, message=f"{where} is read-only on the node, and so it is in the Pod"))
    for one in rows:
        if one.usable == "partly":
            below = "mounts below it keep the node's IDs: their files belong to nobody (65534) in the Pod"
            notes.append(Note(field=field, message=f"{one.path or 'it'}: {below if one.mounts_below else one.reason}"))
    notes += [Note(field=field, message=f"{where}: {READS_ONLY[row.fstype]}")] if row.fstype in READS_ONLY else []
    return reason(field, "runs", "tried", "FilesystemIdmappable", f"{where}: {row.fstype or 'it'} can be idmapped")


def judge_driver(field: str, driver: str, kinds: Sequence[str], node: Node, notes: list[Note]) -> Reason | None:
    """The Reason of a volume by what was tried of others of its *driver*; None where that does not settle it.

    *kinds* are the file systems that the volume may be, each of which has to have been tried; none: not known, and then
    only a refusal of all settles it.
    """
    rows = [row for row in node.volumes if row.driver == driver and (not kinds or row.fstype in kinds)]
    results = {row.result for row in rows}
    found = sorted({row.fstype for row in rows})
    if len(results) != 1 or "unknown" in results or not set(kinds) <= set(found):
        return None
    words = f"other volumes of {driver} on this node ({', '.join(found)})"
    if results == {"refused"}:
        message = f"{words} cannot be idmapped: {rows[0].reason}"
        return reason(field, "fails", "tried", "FilesystemNotIdmappable", message, way_around(rows[0].fstype))
    if not kinds:
        return None
    notes += [Note(field=field, message=READS_ONLY[one]) for one in found if one in READS_ONLY]
    return reason(field, "runs", "tried", "FilesystemIdmappable", f"{words} can be idmapped")


def try_there(path: str) -> str:
    """The command to run on the node that has *path*."""
    return with_command("try it on that node", "userns-probe path {}", path)


def way_around(fstype: str, release: str = "") -> str:
    """The change that a volume needs on a file system that cannot be idmapped."""
    way = what_works(fstype, release)
    if fstype in ("ext2", "ext3"):
        return f"{way}; name it as fsType, in a StorageClass csi.storage.k8s.io/fstype: ext4"
    return f"{way}{way and ', or '}move the volume to ext4, xfs or btrfs, or {KEEP_HOST}"


def _read_only(field: str, where: str, oci_runtime: str) -> Reason:
    """A container wants to write to a read-only mount, which the kernel locks in a user namespace: runc fails."""
    way = "set readOnly: true in its volumeMounts"
    if oci_runtime == "runc":
        message = f"{where} is mounted read-only, and runc cannot change that in a user namespace"
        return reason(field, "fails", "tried", "FilesystemReadOnly", message, way)
    message = f"{where} is mounted read-only; runc then fails, crun mounts it read-only"
    return reason(field, "unknown", "unknown", "FilesystemReadOnly", message, way)
