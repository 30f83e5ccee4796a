"""As which file system the volumes of a driver reach the node: CSI drivers and volume plugins of Kubernetes.

Read in each driver's sources in 2026, or known in general; none of them says a word about idmapped mounts.
"""

from __future__ import annotations

from msgspec import Struct

from probe.pod.spec import PersistentVolumeSpec, Volume, VolumeSources

DEFAULT_FILESYSTEM = "ext4"
"""Of a block device where nobody asks for another. *Source*: the drivers below; Kubernetes, core/v1."""


class Driver(Struct, frozen=True):
    """How the volumes of one driver reach the node."""

    filesystems: tuple[str, ...] = ()
    """Those it mounts, whichever is asked for; empty: the one that is asked for, on a block device."""
    shared: tuple[str, ...] = ()
    """Those of its volumes that many nodes may write (ReadWriteMany), where they are others."""
    offers: bool | None = None
    """Whether its FUSE server offers FUSE_ALLOW_IDMAP; None: not known."""
    hint: str = ""
    """What to know of it."""

    def kinds(self, fstype: str, shared: bool | None) -> tuple[str, ...]:
        """File systems that a volume may be, where *fstype* is asked for and *shared* is known, or not."""
        own = self.filesystems or (fstype or DEFAULT_FILESYSTEM,)
        if not self.shared or shared is False:
            return own
        return self.shared if shared else (*own, *self.shared)


BLOCK = Driver()
_NFS, _SMB, _TMPFS = Driver(("nfs4", "nfs")), Driver(("cifs",)), Driver(("tmpfs",))
_BLOCK_OR_NFS = Driver(shared=("nfs4",))
_NFS_OR_SMB = Driver(("cifs", "nfs4"))

CSI: dict[str, Driver] = {
    **dict.fromkeys(
        (
            "cinder.csi.openstack.org", "csi.hetzner.cloud", "dobs.csi.digitalocean.com",
            "disk.csi.azure.com", "ebs.csi.aws.com", "ebs.csi.eks.amazonaws.com", "fc.csi.k8s.io",
            "io.openebs.csi-mayastor", "iscsi.csi.k8s.io", "linodebs.csi.linode.com", "local.csi.openebs.io",
            "pd.csi.storage.gke.io", "rbd.csi.ceph.com", "rook-ceph.rbd.csi.ceph.com", "topolvm.cybozu.com",
            "topolvm.io",
        ),
        BLOCK,
    ),
    "csi.vsphere.vmware.com": _BLOCK_OR_NFS,
    "driver.longhorn.io": _BLOCK_OR_NFS,
    "pxd.portworx.com": _BLOCK_OR_NFS,
    "efs.csi.aws.com": _NFS,
    "filestore.csi.storage.gke.io": _NFS,
    "nfs.csi.k8s.io": _NFS,
    "smb.csi.k8s.io": _SMB,
    "file.csi.azure.com": _NFS_OR_SMB,
    "blob.csi.azure.com": Driver(("fuse", "nfs4"), offers=False),
    "fsx.csi.aws.com": Driver(("lustre",)),
    "fsx.openzfs.csi.aws.com": _NFS,
    "gcsfuse.csi.storage.gke.io": Driver(("fuse",), offers=False),
    "s3.csi.aws.com": Driver(("fuse",), offers=False),
    "csi.juicefs.com": Driver(("fuse",), offers=False),
    "cephfs.csi.ceph.com": Driver(("ceph", "fuse.ceph-fuse"), hint="an older MDS lets no file be created through it"),
    "rook-ceph.cephfs.csi.ceph.com": Driver(
        ("ceph", "fuse.ceph-fuse"), hint="an older MDS lets no file be created through it"
    ),
    "zfs.csi.openebs.io": Driver(("zfs", "ext4")),
    "secrets-store.csi.k8s.io": _TMPFS,
    "csi.cert-manager.io": _TMPFS,
    "spiffe.csi.cert-manager.io": _TMPFS,
    "csi.spiffe.io": _TMPFS,
    "beegfs.csi.netapp.com": Driver(("beegfs",)),
    "spectrumscale.csi.ibm.com": Driver(("gpfs",)),
}  # fmt: skip
"""Name of a CSI driver -> how its volumes reach the node."""

IN_TREE: dict[str, Driver] = {
    "nfs": _NFS,
    "azureFile": _SMB,
    "cephfs": Driver(("ceph", "fuse.ceph-fuse")),
    "glusterfs": Driver(("fuse.glusterfs",)),
    "portworxVolume": _BLOCK_OR_NFS,
    "quobyte": Driver(("fuse.quobyte",)),
    **dict.fromkeys(
        (
            "awsElasticBlockStore", "azureDisk", "cinder", "fc", "gcePersistentDisk", "iscsi", "photonPersistentDisk",
            "rbd", "scaleIO", "storageos", "vsphereVolume",
        ),
        BLOCK,
    ),
}  # fmt: skip
"""Field of a volume -> how its volumes reach the node."""

_PROVISIONERS = {
    "kubernetes.io/aws-ebs": "awsElasticBlockStore", "kubernetes.io/gce-pd": "gcePersistentDisk",
    "kubernetes.io/azure-disk": "azureDisk", "kubernetes.io/azure-file": "azureFile",
    "kubernetes.io/cinder": "cinder", "kubernetes.io/vsphere-volume": "vsphereVolume",
    "kubernetes.io/rbd": "rbd", "kubernetes.io/portworx-volume": "portworxVolume",
}  # fmt: skip

_FIELDS = {
    name: encoded
    for kind in (Volume, PersistentVolumeSpec)
    for name, encoded in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
}


_NO_SOURCES = frozenset(("name", "storage_class_name", "volume_mode"))


def sources_of(volume: VolumeSources) -> list[str]:
    """The fields of *volume* that are set and name its type; the API takes one of them."""
    names = volume.__struct_fields__
    return [_FIELDS[name] for name in names if name not in _NO_SOURCES and getattr(volume, name) is not None]


def source_of(volume: VolumeSources) -> tuple[str, str, str]:
    """Field, driver and named file system of *volume*: (`csi`, `ebs.csi.aws.com`, `xfs`); empty when none is known."""
    for name in volume.__struct_fields__:
        value = getattr(volume, name)
        if value is not None and name not in _NO_SOURCES:
            return _FIELDS[name], getattr(value, "driver", ""), getattr(value, "fs_type", None) or ""
    return "", "", ""


def driver_of_provisioner(provisioner: str) -> Driver | None:
    """How the volumes of a StorageClass reach the node; None when its provisioner is not in the tables."""
    if provisioner in _PROVISIONERS:
        return IN_TREE[_PROVISIONERS[provisioner]]
    return CSI.get(provisioner)
