"""Every driver that is known: those of CSI, the volume plugins of Kubernetes, and provisioners that are neither."""

from __future__ import annotations

from collections.abc import Mapping

from probe.tables.csi import CSI
from probe.tables.driver import BIND, BLOCK_OR_NFS, CEPH, GENERAL, NFS, SMB, Driver, fuse, rows

SUFFIXES: dict[str, str] = {
    f".{name}": name for name in ("rbd.csi.ceph.com", "cephfs.csi.ceph.com", "nfs.csi.ceph.com")
}
"""End of a name -> the driver that it stands for: Rook puts the namespace of its operator in front.

Those of democratic-csi begin with `org.democratic-csi.`, and end as their administrator likes.
"""

IN_TREE: dict[str, Driver] = {
    **rows("kubernetes/kubernetes pkg/volume/nfs/nfs.go", "nfs", like=NFS),
    **rows("kubernetes/kubernetes pkg/volume/azure_file", "azureFile", like=SMB),
    **rows("kubernetes/kubernetes pkg/volume/cephfs", "cephfs", like=CEPH),
    **rows("kubernetes/kubernetes pkg/volume/glusterfs", "glusterfs", like=fuse("glusterfs", "fuse.glusterfs")),
    **rows("kubernetes/kubernetes pkg/volume/quobyte", "quobyte", like=fuse(name="fuse.quobyte")),
    **rows("kubernetes/kubernetes pkg/volume/portworx", "portworxVolume", like=BLOCK_OR_NFS),
    **rows(
        "kubernetes/kubernetes pkg/volume", "awsElasticBlockStore", "azureDisk", "cinder", "fc", "gcePersistentDisk",
        "iscsi", "photonPersistentDisk", "rbd", "scaleIO", "storageos", "vsphereVolume",
    ),
    **rows("kubernetes/kubernetes pkg/volume/hostpath, pkg/volume/local", "hostPath", "local", like=BIND),
    **rows("kubernetes/kubernetes pkg/volume", "configMap", "gitRepo", like=Driver(bind=True, level="local")),
    **rows(
        "kubernetes/kubernetes pkg/volume", "downwardAPI", "projected", "secret",
        like=Driver(filesystems=("tmpfs",), level="projected"),
    ),
}  # fmt: skip
"""Field of a volume -> how its volumes reach the node."""

PROVISIONERS: dict[str, Driver] = {
    "kubernetes.io/aws-ebs": IN_TREE["awsElasticBlockStore"],
    "kubernetes.io/gce-pd": IN_TREE["gcePersistentDisk"],
    "kubernetes.io/azure-disk": IN_TREE["azureDisk"],
    "kubernetes.io/azure-file": IN_TREE["azureFile"],
    "kubernetes.io/cinder": IN_TREE["cinder"],
    "kubernetes.io/vsphere-volume": IN_TREE["vsphereVolume"],
    "kubernetes.io/rbd": IN_TREE["rbd"],
    "kubernetes.io/portworx-volume": IN_TREE["portworxVolume"],
    **rows("rancher/local-path-provisioner 0.0.37 provisioner.go", "rancher.io/local-path", like=BIND),
    **rows(
        GENERAL, "openebs.io/local", "k8s.io/minikube-hostpath", "microk8s.io/hostpath", "docker.io/hostpath",
        like=BIND,
    ),
    **rows("kubernetes-sigs/nfs-subdir-external-provisioner", "k8s-sigs.io/nfs-subdir-external-provisioner", like=NFS),
    **rows(
        "kubernetes-sigs/nfs-ganesha-server-and-external-provisioner", "cluster.local/nfs-server-provisioner",
        like=NFS,
    ),
}  # fmt: skip
"""Provisioner of a StorageClass that is not a CSI driver -> how its volumes reach the node."""


def csi_driver(name: str) -> Driver | None:
    """The row of a CSI driver: the way its volumes reach the node; None when it is in no row."""
    if name in CSI:
        return CSI[name]
    if name.startswith("org.democratic-csi."):
        return CSI["org.democratic-csi"]
    return next((CSI[own] for end, own in SUFFIXES.items() if name.endswith(end)), None)


def driver_of_provisioner(provisioner: str) -> Driver | None:
    """The row of a StorageClass: the way its volumes reach the node; None when its provisioner is in no row."""
    return PROVISIONERS.get(provisioner) or csi_driver(provisioner)


_SAYS_NFS: dict[str, tuple[str, ...]] = {
    "backendtype": ("ontap-nas", "ontap-nas-economy", "ontap-nas-flexgroup", "azure-netapp-files", "gcp-cvs"),
    "csi.storage.k8s.io/fstype": ("nfs", "nfs3", "nfs4"),
    "fstype": ("nfs", "nfs3", "nfs4"),
    "nfsresources": ("true",),
    "protocol": ("nfs", "nfs3", "nfs4", "nfsv3", "nfsv4", "nfsv4.1", "file"),
    "sharedv4": ("true",),
}
"""Parameter of a StorageClass or attribute of a volume, in lower case -> values that make it NFS, whoever may write it.

*Source*: the documents of Trident (`backendType`, `protocol`), HPE (`nfsResources`), Portworx (`sharedv4`), Synology
and Dell (`protocol`, the file system).
"""


def says_nfs(parameters: Mapping[str, str] | None) -> bool:
    """True when *parameters* of a StorageClass, or attributes of a volume, name NFS."""
    return any(value.lower() in _SAYS_NFS.get(key.lower(), ()) for key, value in (parameters or {}).items())


def driver_of_plugin(plugin: str) -> Driver | None:
    """The same by the kubelet's name of a plugin (`kubernetes.io~nfs`) or the name of a CSI driver."""
    if plugin.startswith(_PREFIX):
        return _BY_PLUGIN.get(plugin)
    return csi_driver(plugin)


def plugin_of(field: str) -> str:
    """The kubelet's directory of a volume plugin, by its field in the API: `kubernetes.io~nfs`."""
    name = _PLUGINS.get(field) or "".join(f"-{char.lower()}" if char.isupper() else char for char in field)
    return _PREFIX + name


_PREFIX = "kubernetes.io~"
_PLUGINS = {
    "awsElasticBlockStore": "aws-ebs",
    "configMap": "configmap",
    "downwardAPI": "downward-api",
    "gcePersistentDisk": "gce-pd",
    "local": "local-volume",
    "photonPersistentDisk": "photon-pd",
    "scaleIO": "scaleio",
}
"""Field -> the kubelet's name of its plugin, where it is another. *Source*: pkg/volume of Kubernetes."""
_BY_PLUGIN = {plugin_of(field): driver for field, driver in IN_TREE.items()}
