"""The file system as which a driver's volumes reach the node, and the answer that follows by kernel."""

from __future__ import annotations

from msgspec import Struct

from probe.tables.filesystems import Verdict, judge_any
from probe.tables.servers import offers
from probe.terms import Level

DEFAULT_FILESYSTEM = "ext4"
"""Of a block device where nobody asks for another. *Source*: the drivers below; Kubernetes, core/v1."""
ASKED = ""
"""In place of a file system: the one that is asked for, on a block device."""
NOT_TRIED = "by kernel and driver, not tried"
NOT_SHARED = "this driver is known for block devices of one node only, not for ReadWriteMany"
GENERAL = "generally known, not read in its sources"
LIST = "kubernetes-csi/docs book/src/drivers.md (name, access modes); the rest is known in general"
"""The list of drivers, of rows whose sources were not read."""


class Driver(Struct, frozen=True, kw_only=True):
    """The file system as which the volumes of one driver reach the node."""

    filesystems: tuple[str, ...] = (ASKED,)
    """Those that it mounts; more than one where the volume alone tells which."""
    shared: tuple[str, ...] = ()
    """Those of its volumes that many nodes may write (ReadWriteMany), where they are others."""
    named: bool = False
    """Whether a file system that is asked for decides among *filesystems*."""
    server: str = ""
    """Of FUSE: the server, a key of SERVERS."""
    bind: bool = False
    """Whether it binds a directory of the node, whose file system decides."""
    level: Level | None = None
    """The level of the node that decides, of volumes that the kubelet fills."""
    hint: str = ""
    """What to know of it."""
    source: str = GENERAL
    """Public repository and file, or GENERAL."""

    def kinds(self, fstype: str, shared: bool | None) -> tuple[str, ...]:
        """File systems that a volume may be, where *fstype* is asked for and *shared* is known, or not."""
        if self.bind:
            return ()
        if self.named and fstype:
            return (fstype,)
        own = tuple(dict.fromkeys(one or fstype or DEFAULT_FILESYSTEM for one in self.filesystems))
        if not self.shared or shared is False:
            return own
        return self.shared if shared else tuple(dict.fromkeys((*own, *self.shared)))

    @property
    def serves_one_node(self) -> bool:
        """True when only block devices of it are known, whose file system one node at a time mounts."""
        return ASKED in self.filesystems and not self.shared

    def judge(self, release: str, fstype: str = "", shared: bool | None = None) -> Verdict:
        """Verdict on an idmapped mount of such a volume with the kernel *release*."""
        if shared and self.serves_one_node:
            return Verdict("unknown", NOT_SHARED)
        kinds = self.kinds(fstype, shared)
        if not kinds:
            return Verdict("unknown", "it is a directory of the node, whose file system decides")
        return judge_any(kinds, release, offers(self.server))

    def reaches(self) -> str:
        """`block: ext4, or as asked; nfs4 for ReadWriteMany`."""
        if self.bind:
            return "bind of the kubelet's directory" if self.level else "bind of the node's file system"
        words = " or ".join("block (ext4, or as asked)" if one == ASKED else one for one in self.filesystems)
        words += f" ({self.server})" if self.server else ""
        return f"{words}; {' or '.join(self.shared)} for ReadWriteMany" if self.shared else words


def rows(source: str, *names: str, like: Driver | None = None) -> dict[str, Driver]:
    """Rows of *names*, which reach the node as *like* does; without it, as a block device."""
    base = like or Driver()
    row = Driver(**{name: getattr(base, name) for name in base.__struct_fields__ if name != "source"}, source=source)
    return dict.fromkeys(names, row)


NFS, SMB, TMPFS = Driver(filesystems=("nfs4", "nfs")), Driver(filesystems=("cifs",)), Driver(filesystems=("tmpfs",))
BLOCK_OR_NFS = Driver(shared=("nfs4",))
EITHER = Driver(filesystems=(ASKED, "nfs4"), shared=("nfs4",), hint="its back end decides between block and NFS")
BIND = Driver(bind=True)
LUSTRE = Driver(filesystems=("lustre",))
CEPH = Driver(
    filesystems=("ceph", "fuse.ceph-fuse"),
    server="ceph-fuse",
    hint="only reads are proven: an MDS without the feature owner-uidgid answers EIO when a file is created",
)


def fuse(server: str = "", name: str = "fuse") -> Driver:
    return Driver(filesystems=(name,), server=server)
