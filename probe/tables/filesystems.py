"""File systems that take an idmapped mount, by kernel: the answer for a volume that was not tried.

A version says less than an attempt: distributions port changes back, and the server of a FUSE file system has a say.
*Source*: the flag FS_ALLOW_IDMAP in the kernel's sources, tried on 6.1, 6.12, 6.16 to 6.18, 7.2 and 7.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from probe.tables.version import spelled

Taken = Literal["yes", "no", "unknown"]


class Verdict(Struct, frozen=True):
    """Answer for an idmapped mount of a file system with a kernel, and its reason."""

    taken: Taken
    why: str


SINCE: dict[str, tuple[int, int]] = {
    "ext4": (5, 12), "xfs": (5, 12), "vfat": (5, 12), "msdos": (5, 12), "btrfs": (5, 15), "f2fs": (5, 18),
    "erofs": (5, 19), "squashfs": (6, 2), "tmpfs": (6, 3), "ceph": (6, 7), "hugetlbfs": (6, 9), "overlay": (7, 3),
}  # fmt: skip
"""File system -> the first release of Linux that takes an idmapped mount of it."""
NEVER = frozenset((
    "9p", "afs", "cgroup", "cgroup2", "cifs", "debugfs", "devpts", "devtmpfs", "ecryptfs", "ext2", "ext3", "gfs2",
    "iso9660", "jfs", "mqueue", "nfs", "nfs4", "ocfs2", "orangefs", "proc", "ramfs", "smb3", "sysfs", "tracefs", "udf",
    "zonefs",
))  # fmt: skip
"""File systems that no release up to KNOWN_TO takes."""
KNOWN_TO = (7, 3)
FUSE_SINCE = (6, 12)
"""From there on the server decides: it has to offer FUSE_ALLOW_IDMAP."""
REMOVED: dict[str, tuple[tuple[int, int], str]] = {
    "bcachefs": ((6, 18), "bcachefs left the mainline kernel; DKMS may build it"),
    "ntfs3": ((7, 2), "the driver ntfs takes the place of ntfs3: mount it by that name"),
    "reiserfs": ((6, 13), "reiserfs left the mainline kernel"),
}
"""File system -> first release without it, and what is known of that."""
OUT_OF_TREE: dict[str, str] = {
    "zfs": "OpenZFS supports it since 2.2",
    "lustre": "no known release of Lustre supports it; its authors have announced one",
    "beegfs": "not known of BeeGFS",
    "gpfs": "not known of IBM Storage Scale",
    "wekafs": "not known of WEKA",
}
"""File system whose module is not part of Linux -> what its releases do."""
READS_ONLY: dict[str, str] = {
    "ceph": "only reads are proven: an MDS without the feature owner-uidgid answers EIO when a file is created",
}
"""File system -> what an idmapped mount of it does not prove. *Source*: ceph/ceph-csi#5440, ceph/ceph#52575."""

LAYERS_SINCE = (5, 19)
"""From there on overlay takes idmapped lower layers."""

_RELEASE = r"(\d{1,4})\.(\d{1,4})"
_BACKPORTED = r"\.(?:el|al|an|oe|tl)\d|\.amzn|-cos|-gke"
"""Vendors that port idmapped mounts back to older releases. Few probes need it, so it is not compiled here."""
_RECENT = (6, 3)


def parse_kernel_release(text: str) -> tuple[int, int] | None:
    """(6, 12) of `6.12.107+deb13-amd64`; None when it is not a release."""
    found = re.match(_RELEASE, text)
    return (int(found[1]), int(found[2])) if found else None


def is_fuse(fstype: str) -> bool:
    """True when a FUSE server decides; virtiofs has one on the machine below."""
    return fstype.partition(".")[0] in ("fuse", "fuseblk", "virtiofs")


def judge_filesystem(fstype: str, release: str, offered: bool | None = None) -> Verdict:
    """Verdict on an idmapped mount of *fstype* with the kernel *release*.

    *offered* is whether a FUSE server offers FUSE_ALLOW_IDMAP; None: not known.
    """
    number = parse_kernel_release(release)
    if is_fuse(fstype):
        return _fuse(fstype, release, number, offered)
    if fstype in NEVER:
        if number is not None and number > KNOWN_TO:
            return Verdict("unknown", f"Linux up to {spelled(KNOWN_TO)} cannot idmap {fstype}; {release} is newer")
        return Verdict("no", f"no kernel up to {spelled(KNOWN_TO)} can idmap {fstype}")
    if fstype not in SINCE:
        more = f": {OUT_OF_TREE[fstype]}" if fstype in OUT_OF_TREE else ""
        return Verdict("unknown", f"whether {fstype} can be idmapped depends on its driver{more}")
    since = SINCE[fstype]
    words = f"{fstype} can be idmapped since Linux {spelled(since)}"
    if number is None:
        return Verdict("unknown", f"{words}; the kernel is not known")
    return Verdict(_reached(number, since, release), f"{words}; the kernel is {release}")


def judge_any(fstypes: Sequence[str], release: str, offered: bool | None = None) -> Verdict:
    """The same of a volume that may be any of *fstypes*: unknown where they differ."""
    found = [judge_filesystem(one, release, offered) for one in fstypes]
    taken = {one.taken for one in found}
    if len(taken) == 1:
        return found[0]
    return Verdict("unknown", "; ".join(dict.fromkeys(one.why for one in found)))


def what_works(fstype: str, release: str = "") -> str:
    """The change that makes a refused file system of that type take an idmapped mount; empty where none is known.

    Without *release*, kernels that every node has by now are left out.
    """
    if fstype in ("ext2", "ext3"):
        return f"mount it as type ext4 instead of {fstype}: the ext4 driver can read and idmap it"
    number = parse_kernel_release(release)
    if is_fuse(fstype):
        boot = "use" if number and number >= FUSE_SINCE else f"boot Linux {spelled(FUSE_SINCE)} or later with"
        return f"{boot} a server that offers FUSE_ALLOW_IDMAP"
    since = SINCE.get(fstype, (0, 0))
    older = since >= _RECENT if number is None else number < since
    return f"boot Linux {spelled(since)} or later" if older else ""


def judge_layers(fstype: str, release: str) -> Verdict:
    """Verdict on idmapped layers of a *fstype* below overlay with the kernel *release*."""
    of_layer, number = judge_filesystem(fstype, release), parse_kernel_release(release)
    if of_layer.taken != "yes" or number is None:
        return of_layer
    words = f"overlay accepts idmapped layers since Linux {spelled(LAYERS_SINCE)}; the kernel is {release}"
    return Verdict(_reached(number, LAYERS_SINCE, release), words)


def _fuse(fstype: str, release: str, number: tuple[int, int] | None, offered: bool | None) -> Verdict:
    words = f"{fstype} can be idmapped since Linux {spelled(FUSE_SINCE)}, if its server offers FUSE_ALLOW_IDMAP"
    if offered is False:
        return Verdict("no", f"{words}; no known release of this server does")
    if number is None:
        return Verdict("unknown", f"{words}; the kernel is not known")
    reached = _reached(number, FUSE_SINCE, release)
    if reached == "yes" and offered is None:
        return Verdict("unknown", f"{words}; not known of this server")
    return Verdict(reached, f"{words}; the kernel is {release}")


def _reached(number: tuple[int, int], since: tuple[int, int], release: str) -> Taken:
    if number >= since:
        return "yes"
    return "unknown" if re.search(_BACKPORTED, release) else "no"
