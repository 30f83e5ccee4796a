"""The file systems of the kernel matrix: those of the tests on this machine's own kernel, and some of a guest's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from lab.real import bundle, kernel
from lab.real.filesystems import CATALOG, Filesystem, filesystem, filled, mounted

OVERLAY_LAYERS = "overlay-layers"
"""An overlay as runtimes make it for the root of a Pod: its lower layer is idmapped, and it is used as it is."""


@contextmanager
def _overlay_layers(directory: str) -> Iterator[str]:
    for name in ("image", "image/lower", "idmapped", "other"):
        os.mkdir(f"{directory}/{name}")
    filled(f"{directory}/image/lower")
    kernel.mount_idmapped(f"{directory}/image", f"{directory}/idmapped", bundle.FIRST)
    try:
        layers = f"lowerdir={directory}/idmapped/lower:{directory}/other"
        with mounted(directory, "test", "overlay", layers) as path:
            yield path
    finally:
        kernel.detach(f"{directory}/idmapped")


@contextmanager
def _there(directory: str, path: str) -> Iterator[str]:
    """What a booted machine has mounted anyway."""
    yield path


def _rows() -> Iterator[Filesystem]:
    yield Filesystem(OVERLAY_LAYERS, _overlay_layers, ("overlay",), readonly=True)
    for fstype, path in (("sysfs", "/sys/kernel"), ("cgroup2", "/sys/fs/cgroup"), ("devtmpfs", "/dev")):
        yield Filesystem(fstype, partial(_there, path=path), (fstype,))


ROWS = CATALOG | {row.name: row for row in _rows()}
CORE = (
    *("ext4", "squashfs", "tmpfs", "hugetlbfs", "ramfs", "overlay", OVERLAY_LAYERS),
    *("fuse", "fuse-idmap", "fuse-below-ext4", "proc", "sysfs", "cgroup2", "devtmpfs", "idmapped", "unbindable"),
)
"""What each kernel is asked about."""
MADE_BY_IDMAPPING = (OVERLAY_LAYERS, "idmapped")
"""What a kernel without idmapped mounts cannot have; all others are on each."""
NOT_TRIED = ("bcachefs", "ceph", "ecryptfs", "gfs2", "glusterfs", "lustre", "ocfs2", "orangefs", "zfs")
"""What a node may have, and takes more than Debian's kernel and a package with mkfs; the tables say so."""
MODULES = ("ext4", "squashfs", "loop", "overlay", "fuse", "veth")
"""What it takes to mount them, and to try out a sandbox with its network: in a guest nothing is loaded on demand."""


def volume(name: str, below: str) -> AbstractContextManager[str]:
    """The path of a new volume on *name*, as `lab.real.filesystems.filesystem`."""
    return filesystem(name, below, ROWS[name])
