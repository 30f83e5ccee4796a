"""Values of labels and keys: closed lists, so that no report, whoever wrote it, adds another."""

from __future__ import annotations

from typing import Literal

from probe.checks.catalog import CHECKS
from probe.outputs.text import visible
from probe.report import Report
from probe.terms import Role, UnknownReason

Result = Literal["supported", "refused", "unknown"]

OTHER = "other"
CHECK_IDS: tuple[str, ...] = tuple(check.id for check in CHECKS)
REASONS: frozenset[str] = frozenset(
    [reason for check in CHECKS for reason in check.reasons] + list(UnknownReason.__args__)  # type: ignore[attr-defined]
)
ROLES: tuple[Role, ...] = ("kubelet-root", "runtime-root", "overlay-layers", "tmpfs", "volume")

FSTYPES: frozenset[str] = frozenset((
    "9p", "afs", "autofs", "bcachefs", "beegfs", "btrfs", "ceph", "cifs", "ecryptfs", "efivarfs", "erofs", "exfat",
    "ext2", "ext3", "ext4", "f2fs", "fuse", "fuseblk", "gfs2", "gpfs", "hfsplus", "hugetlbfs", "iso9660", "jfs",
    "lustre", "nfs", "nfs4", "nilfs2", "ntfs", "ntfs3", "ocfs2", "orangefs", "overlay", "pvfs2", "ramfs", "rootfs",
    "smb3", "squashfs", "tmpfs", "udf", "ufs", "vboxsf", "vfat", "virtiofs", "vmhgfs", "wekafs", "xfs", "zfs",
    "zonefs",
))  # fmt: skip
"""Kernel names of file systems that nodes have; each FUSE server's is `fuse`, since a server chooses its own name."""

_BADNESS: tuple[Result, ...] = ("supported", "unknown", "refused")


def blocking_reason(report: Report) -> str:
    """The reason of a verdict that is not ready: from the closed list, `Other` when not on it; empty when ready."""
    if report.verdict == "ready":
        return ""
    return report.reason if report.reason in REASONS else OTHER.capitalize()


def known_fstype(fstype: str) -> str:
    """*fstype* from the closed list, `fuse` for `fuse.sshfs`, `other` for what is not on it; empty stays empty."""
    name = fstype.split(".")[0] if fstype.startswith("fuse.") else fstype
    return name if not name or name in FSTYPES else OTHER


def filesystem_results(report: Report) -> dict[tuple[Role, str], Result]:
    """Role and file system -> the worst result of all such rows, in the order of roles, then of names."""
    worst: dict[tuple[Role, str], Result] = {}
    for row in report.filesystems:
        if row.role in ROLES:
            key = (row.role, known_fstype(row.fstype))
            worst[key] = max(worst.get(key, "supported"), row.result, key=_BADNESS.index)
    return {key: worst[key] for key in sorted(worst, key=lambda key: (ROLES.index(key[0]), key[1]))}


def shown(text: str, limit: int) -> str:
    """*text* with all that is not plainly visible escaped, of at most *limit* bytes of UTF-8."""
    clean = visible(text[: limit + 1])
    if len(clean.encode()) <= limit:
        return clean
    return clean.encode()[: limit - 3].decode(errors="ignore") + "…"
