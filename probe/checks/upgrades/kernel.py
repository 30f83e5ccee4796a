"""Changes by another kernel: file systems that it maps, file systems that it no longer has, /proc for engines."""

from __future__ import annotations

from collections.abc import Iterator

from probe.checks.upgrades.model import Step, Version, reached
from probe.report import FilesystemRow, Report, VolumeRow
from probe.tables.filesystems import FUSE_SINCE, LAYERS_SINCE, REMOVED, SINCE, is_fuse, parse_kernel_release
from probe.tables.version import spelled

_PROC_SUBSET = (7, 2)
_TMPFS = "tmpfs"
_MOUNT_SETATTR = "kernel sources, FS_ALLOW_IDMAP; mount_setattr(2)"


def kernel_steps(report: Report, target: str) -> Iterator[Step]:
    """Steps of an upgrade, or of a downgrade, to the release *target*; empty: of all newer releases."""
    now, then = parse_kernel_release(report.facts.kernel_release), parse_kernel_release(target) if target else None
    seen: set[str] = set()
    needed = (row for row in report.filesystems if row.role != "volume")
    rows: tuple[FilesystemRow | VolumeRow, ...] = (*needed, *report.volumes)
    for row in rows:
        subject = _subject(row)
        if subject in seen:
            continue
        seen.add(subject)
        yield from _of_row(row, subject, now, then)
    yield from _of_nested(report, now, then)


def _of_row(row: FilesystemRow | VolumeRow, subject: str, now: Version | None, then: Version | None) -> Iterator[Step]:
    fuse = is_fuse(row.fstype)
    since = _since(row)
    if since is not None:
        layers = since == LAYERS_SINCE and isinstance(row, FilesystemRow) and row.role == "overlay-layers"
        words = f"Linux maps {'layers below overlay' if layers else row.fstype} since {spelled(since)}"
        if row.result == "refused" and reached(now, since, then):
            need = ", if its server offers FUSE_ALLOW_IDMAP" if fuse else ""
            yield _step(since, "unknown" if fuse else "starts", subject, words + need, _MOUNT_SETATTR)
        elif row.result == "supported" and then is not None and now is not None and then < since <= now:
            yield _step(since, "stops", subject, words, _MOUNT_SETATTR)
    gone, why = REMOVED.get(row.fstype, (None, ""))
    if gone is not None and reached(now, gone, then):
        yield _step(gone, "stops", subject, why, "kernel sources, fs/")


def _of_nested(report: Report, now: Version | None, then: Version | None) -> Iterator[Step]:
    findings = {one.id: one for one in report.nested.findings} if report.nested else {}
    proc, again = findings.get("nested-proc"), findings.get("nested-idmap-again")
    if proc is not None and (proc.pod or proc.status == "fail") and reached(now, _PROC_SUBSET, then):
        why = "a new /proc with subset=pid needs no other one in sight, so rootless engines need no procMount: Unmasked"
        yield _step(_PROC_SUBSET, "starts", "nested-proc", why, "proc(5), subset=")
    if again is not None and again.status == "fail" and reached(now, SINCE[_TMPFS], then):
        why = f"Linux maps tmpfs since {spelled(SINCE[_TMPFS])}, which inner Pods need"
        yield _step(SINCE[_TMPFS], "starts", "nested-idmap-again", why, _MOUNT_SETATTR)


def _since(row: FilesystemRow | VolumeRow) -> tuple[int, int] | None:
    layers = isinstance(row, FilesystemRow) and row.role == "overlay-layers"
    if layers and row.fstype in ("", "overlay"):
        return LAYERS_SINCE
    since = FUSE_SINCE if is_fuse(row.fstype) else SINCE.get(row.fstype)
    return max(since, LAYERS_SINCE) if layers and since else since


def _subject(row: FilesystemRow | VolumeRow) -> str:
    """`kubelet-root (ext4)`, `tmpfs`, `cephfs.csi.ceph.com (ceph)`."""
    name = row.role if isinstance(row, FilesystemRow) else row.driver or "volumes"
    return name if name == row.fstype or not row.fstype else f"{name} ({row.fstype})"


def _step(since: tuple[int, int], effect: str, subject: str, why: str, source: str) -> Step:
    return Step(
        component="kernel",
        version=spelled(since),
        effect=effect,  # type: ignore[arg-type]
        subject=subject,
        why=why,
        source=source,
    )
