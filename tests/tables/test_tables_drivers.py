"""The table of drivers: which file systems reach a node, and what follows from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.tables.csi import CSI
from probe.tables.driver import Driver
from probe.tables.drivers import IN_TREE, PROVISIONERS, csi_driver, driver_of_plugin, driver_of_provisioner, plugin_of
from probe.tables.filesystems import NEVER, SINCE, judge_any, judge_filesystem, what_works
from probe.tables.servers import SERVERS

KERNELS = ("5.10.0", "5.15.0", "6.1.0", "6.6.0", "6.12.0", "7.3.4", "9.9", "", "5.14.0-503.el9.x86_64")
EVERY = {**CSI, **IN_TREE, **PROVISIONERS}


@pytest.mark.parametrize(
    ("name", "fstype", "shared", "kernel", "taken"),
    [
        ("ebs.csi.aws.com", "", None, "6.12", "yes"),
        ("ebs.csi.aws.com", "ext3", None, "7.3", "no"),
        ("ebs.csi.aws.com", "btrfs", None, "5.13", "no"),
        ("efs.csi.aws.com", "ext4", False, "6.12", "no"),
        ("driver.longhorn.io", "", False, "6.12", "yes"),
        ("driver.longhorn.io", "", True, "6.12", "no"),
        ("driver.longhorn.io", "", None, "6.12", "unknown"),
        ("csi.trident.netapp.io", "", False, "6.12", "unknown"),
        ("csi.trident.netapp.io", "", True, "6.12", "no"),
        ("org.democratic-csi.nfs", "", True, "6.12", "no"),
        ("org.democratic-csi.iscsi", "", False, "6.12", "unknown"),
        ("my-operator.rbd.csi.ceph.com", "", None, "6.12", "yes"),
        ("my-operator.cephfs.csi.ceph.com", "", None, "6.12", "unknown"),
        ("my-operator.cephfs.csi.ceph.com", "", None, "6.6", "no"),
        ("zfs.csi.openebs.io", "", None, "6.12", "unknown"),
        ("zfs.csi.openebs.io", "zfs", None, "6.12", "unknown"),
        ("zfs.csi.openebs.io", "xfs", None, "6.12", "yes"),
        ("fsx.csi.aws.com", "", None, "6.12", "unknown"),
        ("spectrumscale.csi.ibm.com", "", None, "6.12", "unknown"),
        ("s3.csi.aws.com", "", None, "6.12", "no"),
        ("csi.cubefs.com", "", None, "6.12", "unknown"),
        ("csi.cubefs.com", "", None, "6.1", "no"),
        ("secrets-store.csi.k8s.io", "", None, "6.1", "no"),
        ("secrets-store.csi.k8s.io", "", None, "6.3", "yes"),
        ("hostpath.csi.k8s.io", "", None, "7.3", "unknown"),
    ],
)
def test_drivers(name: str, fstype: str, shared: bool | None, kernel: str, taken: str) -> None:
    """Driver, file system that is asked for, access modes and kernel lead to an answer."""
    driver = csi_driver(name)
    assert driver is not None
    assert driver.judge(kernel, fstype, shared).taken == taken


def test_every_row_says_where_it_is_from() -> None:
    """And each FUSE server that a row names has a row itself."""
    assert all(driver.source and driver.reaches() for driver in EVERY.values())
    assert {driver.server for driver in EVERY.values()} - {""} <= SERVERS.keys()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shared", [None, False, True])
@pytest.mark.parametrize("fstype", ["", "ext3", "xfs", "who-knows"])
def test_nothing_is_supported_that_depends_on_what_is_unknown(kernel: str, shared: bool | None, fstype: str) -> None:
    """A row is supported only if each file system that it may be is; without a kernel, nothing is."""
    for driver in EVERY.values():
        found = driver.judge(kernel, fstype, shared)
        kinds = driver.kinds(fstype, shared)
        assert found.why
        if found.taken == "yes":
            assert kernel
            assert {judge_filesystem(kind, kernel).taken for kind in kinds} == {"yes"}


def test_who_shares_by_nfs_is_refused_whatever_its_block_devices_do() -> None:
    """ReadWriteMany of such a driver is NFS on each kernel that is known."""
    sharing = [driver for driver in EVERY.values() if driver.shared]
    assert sharing
    assert {driver.judge("7.3", shared=True).taken for driver in sharing} == {"no"}


def test_nothing_is_supported_for_many_nodes_of_a_driver_of_block_devices() -> None:
    """Whatever file system is asked for."""
    block = [driver for driver in EVERY.values() if driver.serves_one_node]
    assert block
    for fstype in ("", "ext4", "xfs"):
        assert {driver.judge("7.3", fstype, shared=True).taken for driver in block} == {"unknown"}


def test_no_name_is_in_two_tables() -> None:
    """A name of a CSI driver is not a name of another provisioner."""
    assert not CSI.keys() & PROVISIONERS.keys()
    assert driver_of_provisioner("rancher.io/local-path") == PROVISIONERS["rancher.io/local-path"]
    assert driver_of_provisioner("ebs.csi.aws.com") == CSI["ebs.csi.aws.com"]
    assert driver_of_provisioner("who.knows") is None


@pytest.mark.parametrize(
    ("plugin", "field"),
    [
        ("kubernetes.io~nfs", "nfs"),
        ("kubernetes.io~aws-ebs", "awsElasticBlockStore"),
        ("kubernetes.io~azure-file", "azureFile"),
        ("kubernetes.io~local-volume", "local"),
        ("kubernetes.io~downward-api", "downwardAPI"),
        ("kubernetes.io~scaleio", "scaleIO"),
    ],
)
def test_plugins_of_the_kubelet(plugin: str, field: str) -> None:
    """The kubelet's directories stand for fields of the API."""
    assert plugin_of(field) == plugin
    assert driver_of_plugin(plugin) == IN_TREE[field]


@given(st.text(max_size=40))
def test_a_strange_name_is_in_no_row(name: str) -> None:
    """Whatever vol_data.json says."""
    found = driver_of_plugin(name)
    assert found is None or isinstance(found, Driver)


@pytest.mark.parametrize(
    ("fstype", "kernel", "named"),
    [
        ("ext3", "7.3", "ext4"),
        ("ext2", "", "ext4"),
        ("tmpfs", "6.1", "6.3"),
        ("btrfs", "5.14", "5.15"),
        ("overlay", "", "7.3"),
        ("fuse.sshfs", "6.12", "FUSE_ALLOW_IDMAP"),
    ],
)
def test_a_refusal_says_what_would_work(fstype: str, kernel: str, named: str) -> None:
    """The type, the release or the flag that makes it work."""
    assert named in what_works(fstype, kernel)


def test_nothing_is_promised_that_no_kernel_does() -> None:
    """No kernel helps NFS, and a newer one not what it takes already."""
    silent = [fstype for fstype in NEVER if fstype not in ("ext2", "ext3")]
    assert {what_works(fstype, "6.1") for fstype in silent} == {""}
    assert {what_works(fstype, "7.3") for fstype in SINCE} == {""}


def test_equal_reasons_are_said_once() -> None:
    """A volume that may be any of several file systems has each reason once."""
    assert judge_any(("nfs4", "nfs4", "ext4"), "6.12").why.count("nfs4") == 1
