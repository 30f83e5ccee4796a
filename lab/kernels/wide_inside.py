"""The file systems that only guests of `scripts/kernel-matrix --wide` have, and what runs there.

Disks, shares and the files of daemons come from outside (see wide.py). As inside.py it only observes: of each row what
the real command says, and what a real OCI runtime then does. Run by `machine.boot` as
`python -m lab.kernels.wide_inside JOB`, where JOB is one of inside.py, without scenarios.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from lab.kernels.inside import Job, tell, tell_paths, tell_truth
from lab.kernels.wide_servers import SMB, nfs_mount, nfs_server, samba, served
from lab.real import kernel
from lab.real.filesystems import Filesystem, filesystem

WORKSPACE = "/run/wide"
TAGS = {"9p": "share-9p", "virtiofs-c": "share-c", "virtiofs-rust": "share-rust"}
"""Row -> the name that the guest knows the directory by that it shares with this machine."""

MS_RDONLY = 1
BTRFS_IOC_SUBVOL_CREATE = 0x5000940E  # linux/btrfs.h

PSEUDO = (
    *("devpts", "mqueue", "bpf", "configfs", "securityfs", "debugfs", "tracefs", "pstore", "fusectl", "binfmt_misc"),
    *("rpc_pipefs", "nfsd"),
)
"""What the kernel shows of itself: mounted alike, and named as their rows."""


def main() -> None:
    job = Job.decode(sys.argv[1])
    os.mkdir(WORKSPACE, mode=0o711)
    with ExitStack() as stack:
        paths = {}
        for name in job.rows:
            if missing := ROWS[name].missing():
                tell(row=name, missing=missing)
                continue
            try:
                paths[name] = stack.enter_context(filesystem(name, WORKSPACE, ROWS[name]))
            except (OSError, subprocess.SubprocessError) as error:
                tell(row=name, broken=str(error))
        tell_paths(paths)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pairs = [(name, runtime) for name in paths for runtime in job.oci_runtimes]
            told = [
                pool.submit(tell_truth, name, paths[name], runtime, WORKSPACE, readonly=ROWS[name].readonly)
                for name, runtime in pairs
            ]
            for each in told:
                each.result()


@contextmanager
def _mounted(directory: str, source: str, fstype: str, flags: int = 0, data: str = "") -> Iterator[str]:
    target = f"{directory}/mount"
    os.mkdir(target)
    kernel.mount(source, target, fstype, flags, data)
    try:
        yield target
    finally:
        kernel.detach(target)


def _disk(directory: str, name: str, fstype: str, readonly: bool) -> AbstractContextManager[str]:
    return _mounted(directory, f"/dev/disk/{name}", fstype, MS_RDONLY if readonly else 0)


@contextmanager
def _btrfs_subvolume(directory: str) -> Iterator[str]:
    with _disk(directory, "btrfs-subvolume", "btrfs", readonly=False) as path:
        top = os.open(path, os.O_RDONLY)
        # Mutable, as ioctl takes no more than 1024 bytes of what is not.
        fcntl.ioctl(top, BTRFS_IOC_SUBVOL_CREATE, bytearray(struct.pack("=q4088s", 0, b"subvolume")))
        os.close(top)
        yield f"{path}/subvolume"


@contextmanager
def _autofs(directory: str) -> Iterator[str]:
    """Its daemon is nobody: what asks for no name below it gets its answer from the kernel."""
    read_end, write_end = os.pipe()
    options = f"fd={write_end},minproto=5,maxproto=5,indirect"
    try:
        with _mounted(directory, "none", "autofs", data=options) as path:
            yield path
    finally:
        os.close(read_end)
        os.close(write_end)


@contextmanager
def _nfs(directory: str) -> Iterator[str]:
    target = f"{directory}/mount"
    os.mkdir(target)
    with nfs_server(), nfs_mount(target):
        yield target


@contextmanager
def _cifs(directory: str) -> Iterator[str]:
    with samba(), _mounted(directory, "//127.0.0.1/share", "cifs", 0, SMB) as path:
        yield path


def _rows() -> Iterator[Filesystem]:
    linux = ("ext3", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "erofs")
    for name in (*linux, "vfat", "exfat", "ntfs3", "ntfs", "iso9660", "udf"):
        readonly = name in ("erofs", "iso9660")
        yield Filesystem(name, partial(_disk, name=name, fstype=name, readonly=readonly), (name,), readonly=readonly)
    yield Filesystem("btrfs-subvolume", _btrfs_subvolume, ("btrfs",))
    yield Filesystem("nfs", _nfs, ("nfs4", "nfsd"))
    yield Filesystem("cifs", _cifs, ("cifs",))
    share = partial(_mounted, source=TAGS["9p"], fstype="9p", data="trans=virtio,version=9p2000.L")
    yield Filesystem("9p", share, ("9p",))
    for name in ("virtiofs-c", "virtiofs-rust"):
        yield Filesystem(name, partial(_mounted, source=TAGS[name], fstype="virtiofs"), ("virtiofs",))
    yield Filesystem("fuse2fs", partial(served, name="fuse2fs", options="-f -o allow_other"), ("fuse",))
    yield Filesystem("ntfs-3g", partial(served, name="ntfs-3g", options="-o no_detach,allow_other"), ("fuseblk",))
    yield Filesystem("autofs", _autofs, ("autofs",))
    for name in PSEUDO:
        yield Filesystem(name, partial(_mounted, source="none", fstype=name), (name,))
    yield Filesystem("cgroup", partial(_mounted, source="none", fstype="cgroup", data="none,name=wide"), ("cgroup",))


ROWS = {row.name: row for row in _rows()}

if __name__ == "__main__":
    main()
