"""CSI drivers: as which file system the volumes of each reach the node.

None of the drivers that were read says a word about idmapped mounts: the answer follows from the file system.
"""

from __future__ import annotations

from probe.tables.driver import (
    ASKED,
    BIND,
    BLOCK_OR_NFS,
    CEPH,
    EITHER,
    GENERAL,
    LIST,
    LUSTRE,
    NFS,
    SMB,
    TMPFS,
    Driver,
    fuse,
    rows,
)

SYNOLOGY = Driver(filesystems=(ASKED, "nfs4", "cifs"), shared=("nfs4", "cifs"), hint=EITHER.hint)

CSI: dict[str, Driver] = {
    **rows(
        "kubernetes-sigs/aws-ebs-csi-driver 1.64 pkg/driver/constants.go", "ebs.csi.aws.com",
        "ebs.csi.eks.amazonaws.com",
    ),
    **rows(
        "kubernetes-sigs/gcp-compute-persistent-disk-csi-driver pkg/gce-pd-csi-driver/node.go",
        "pd.csi.storage.gke.io",
    ),
    **rows("kubernetes-sigs/azuredisk-csi-driver pkg/azuredisk/azure_common_linux.go", "disk.csi.azure.com"),
    **rows("ceph/ceph-csi#5440", "rbd.csi.ceph.com", "rook-ceph.rbd.csi.ceph.com"),
    **rows("topolvm/topolvm docs/advanced-setup.md", "topolvm.io", "topolvm.cybozu.com"),
    **rows("kubernetes-csi/csi-driver-iscsi", "iscsi.csi.k8s.io"),
    **rows("kubernetes/cloud-provider-openstack pkg/csi/cinder/nodeserver.go", "cinder.csi.openstack.org"),
    **rows("hetznercloud/csi-driver internal/volumes/mount.go", "csi.hetzner.cloud"),
    **rows("digitalocean/csi-digitalocean driver/node.go", "dobs.csi.digitalocean.com"),
    **rows(
        LIST, "arstor.csi.huayun.io", "block.csi.ibm.com", "block.csi.vultr.com", "blockvolume.csi.oraclecloud.com",
        "com.open-e.joviandss.csi", "com.tencent.cloud.csi.cbs", "cstor.csi.openebs.io",
        "csi-driver.storpool.com", "csi-exos-x.seagate.com", "csi-instorage", "csi-macrosan",
        "csi-powermax.dellemc.com", "csi.block.bigtera.com", "csi.block.xsky.com", "csi.cloudscale.ch",
        "csi.ovirt.org", "csi.scaleway.com", "csi.spdk.io", "dcx.csi.diamanti.com",
        "disk.csi.qingcloud.com",
        "diskplugin.csi.alibabacloud.com", "dothill.csi.enix.io", "dsp.csi.daterainc.io",
        "eds.csi.block.sangfor.com", "eu.zetanova.csi.hyperv", "hspc.csi.hitachi.com",
        "intelliflash-csi-block-driver.intelliflash.com", "kumoscale.kioxia.com", "linodebs.csi.linode.com",
        "local.csi.alibaba.com", "neonsan.csi.qingstor.com", "nexentastor-block-csi-driver.nexenta.com",
        "nvmesh-csi.excelero.com", "org.gluster.glustervirtblock", "pmem-csi.intel.com", "volume.csi.bizflycloud.vn",
        "vpc.block.csi.ibm.io", "yandex.csi.flant.com",
    ),
    **rows(
        GENERAL, "containerstorage.csi.azure.com", "csi.exoscale.com", "csi.kubevirt.io", "csi.proxmox.sinextra.dev",
        "csi.simplyblock.io", "disk-csi-driver.mks.ycloud.io", "evs.csi.huaweicloud.com", "fc.csi.k8s.io",
        "io.openebs.csi-mayastor", "jiva.csi.openebs.io", "local.csi.metal-stack.io", "local.csi.openebs.io",
        "localdisk.csi.acstor.io", "nvmeof.csi.ceph.com", "storage.csi.upcloud.com",
    ),
    **rows("longhorn/longhorn-manager 1.12 csi/node_server.go", "driver.longhorn.io", like=BLOCK_OR_NFS),
    **rows(
        "kubernetes-sigs/vsphere-csi-driver pkg/csi/service/common/constants.go", "csi.vsphere.vmware.com",
        like=BLOCK_OR_NFS,
    ),
    **rows(
        GENERAL, "pxd.portworx.com", "csi.hpe.com", "storageos", "csi.storageos.com",
        like=BLOCK_OR_NFS,
    ),
    **rows("piraeusdatastore/linstor-csi pkg/driver/nfs_exporter.go", "linstor.csi.linbit.com", like=BLOCK_OR_NFS),
    **rows(
        LIST, "com.hammerspace.csi", "csi-powerstore.dellemc.com", "csi-unity.dellemc.com", "csi-vxflexos.dellemc.com",
        "csi.huawei.com", "csi.nutanix.com", "csi.trident.netapp.io", "csi.zadara.com", "infinibox-csi-driver",
        "org.democratic-csi", "pure-csi",
        like=EITHER,
    ),
    **rows(LIST, "csi.san.synology.com", like=SYNOLOGY),
    **rows("kubernetes-sigs/aws-efs-csi-driver 3.4 pkg/driver/node.go", "efs.csi.aws.com", like=NFS),
    **rows(
        "kubernetes-sigs/gcp-filestore-csi-driver pkg/csi_driver/node.go", "filestore.csi.storage.gke.io",
        "com.google.csi.filestore", like=NFS,
    ),
    **rows("kubernetes-csi/csi-driver-nfs 4.13 pkg/nfs/nodeserver.go", "nfs.csi.k8s.io", like=NFS),
    **rows(
        LIST, "com.tencent.cloud.csi.cfs", "csi-isilon.dellemc.com", "csi.vastdata.com",
        "intelliflash-csi-file-driver.intelliflash.com", "nasplugin.csi.alibabacloud.com",
        "nexentastor-csi-driver.nexenta.com", like=NFS,
    ),
    **rows(
        GENERAL, "fsx.openzfs.csi.aws.com", "fss.csi.oraclecloud.com", "nfs.csi.ceph.com", "rook-ceph.nfs.csi.ceph.com",
        "nfs.manila.csi.openstack.org", "sfs.csi.huaweicloud.com", "sfsturbo.csi.huaweicloud.com",
        "vpc.file.csi.ibm.io",
        like=NFS,
    ),
    **rows("kubernetes-csi/csi-driver-smb pkg/smb/nodeserver.go", "smb.csi.k8s.io", like=SMB),
    **rows(
        "kubernetes-sigs/azurefile-csi-driver pkg/azurefile/azurefile.go", "file.csi.azure.com",
        like=Driver(filesystems=("cifs", "nfs4")),
    ),
    **rows(
        "kubernetes-sigs/blob-csi-driver pkg/blob/blob.go", "blob.csi.azure.com", like=Driver(filesystems=("fuse",
        "nfs4"), server="blobfuse2"),
    ),
    **rows("GoogleCloudPlatform/gcs-fuse-csi-driver", "gcsfuse.csi.storage.gke.io", like=fuse("jacobsa/fuse")),
    **rows("awslabs/mountpoint-s3#1835", "s3.csi.aws.com", like=fuse("mountpoint-s3")),
    **rows("juicedata/juicefs-csi-driver pkg/juicefs/juicefs.go", "csi.juicefs.com", like=fuse("juicefs")),
    **rows(
        LIST, "com.tencent.cloud.csi.cosfs", "com.tuxera.csi.moosefs", "csi.chubaofs.com", "csi.cubefs.com",
        "gcs.csi.ofek.dev", "ossplugin.csi.alibabacloud.com", "seaweedfs-csi-driver", like=fuse(),
    ),
    **rows(LIST, "org.gluster.glusterfs", "org.kadalu.gluster", "kadalu", like=fuse("glusterfs", "fuse.glusterfs")),
    **rows(LIST, "quobyte-csi", "csi.quobyte.com", like=fuse(name="fuse.quobyte")),
    **rows(
        GENERAL, "fuse.csi.fluid.io", "parallelstore.csi.storage.gke.io", "csi-rclone", "ru.yandex.s3.csi",
        "ch.ctrox.csi.s3-driver", "obs.csi.huaweicloud.com", "cvmfs.csi.cern.ch", like=fuse(),
    ),
    **rows("ceph/ceph-csi#5440", "cephfs.csi.ceph.com", "rook-ceph.cephfs.csi.ceph.com", like=CEPH),
    **rows(GENERAL, "cephfs.manila.csi.openstack.org", like=CEPH),
    **rows(LIST, "manila.csi.openstack.org", like=Driver(filesystems=("nfs4", "ceph", "fuse.ceph-fuse"))),
    **rows(
        "openebs/zfs-localpv; openzfs/zfs module/os/linux/zfs/zpl_super.c", "zfs.csi.openebs.io",
        like=Driver(filesystems=("zfs", ASKED), named=True),
    ),
    **rows("kubernetes-sigs/aws-fsx-csi-driver 1.9 pkg/driver/node.go", "fsx.csi.aws.com", like=LUSTRE),
    **rows(GENERAL, "azurelustre.csi.azure.com", "lustre.csi.storage.gke.io", "lustre-csi.hpe.com", like=LUSTRE),
    **rows(LIST, "exa.csi.ddn.com", like=LUSTRE),
    **rows("NetApp/beegfs-csi-driver 1.8", "beegfs.csi.netapp.com", like=Driver(filesystems=("beegfs",))),
    **rows(
        "IBM/ibm-spectrum-scale-csi 3.0 driver/csiplugin/nodeserver.go", "spectrumscale.csi.ibm.com",
        like=Driver(filesystems=("gpfs",), hint="it may publish by a symbolic link: judge the link's target"),
    ),
    **rows(LIST, "csi.weka.io", like=Driver(filesystems=("wekafs", "nfs4"))),
    **rows(GENERAL, "filestorage.csi.scaleway.com", like=fuse("virtiofsd", "virtiofs")),
    **rows(
        "kubernetes-sigs/secrets-store-csi-driver pkg/secrets-store/nodeserver.go", "secrets-store.csi.k8s.io",
        like=TMPFS,
    ),
    **rows(
        "cert-manager/csi-lib storage/filesystem.go", "csi.cert-manager.io", "spiffe.csi.cert-manager.io",
        like=TMPFS,
    ),
    **rows(
        "spiffe/spiffe-csi pkg/driver/driver.go", "csi.spiffe.io",
        like=Driver(filesystems=("tmpfs",), hint="it binds the directory of the agent's socket, which lies on /run"),
    ),
    **rows(GENERAL, "csi.sharedresource.openshift.io", "secrets.csi.kubevault.com", like=TMPFS),
    **rows("kubernetes-csi/csi-driver-host-path", "hostpath.csi.k8s.io", like=BIND),
    **rows(GENERAL, "kubevirt.io.hostpath-provisioner", "csi.tigera.io", like=BIND),
}  # fmt: skip
"""Name of a CSI driver -> how its volumes reach the node."""
