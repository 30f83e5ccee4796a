"""The file systems that only guests of `scripts/kernel-matrix --wide` have, and what runs there.

Disks, shares and the files of daemons come from outside (see wide.py). As inside.py it only observes: of each row what
the real command says, and what a real OCI runtime then does. Run by `machine.boot` as
`python -m tests.kernels.wide_inside JOB`, where JOB is one of inside.py, without scenarios.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial

from tests.kernels.inside import Job, tell, tell_paths, tell_truth
from tests.real import kernel
from tests.real.filesystems import Filesystem, filesystem

WORKSPACE = "/run/wide"
DAEMONS = "/daemons"
"""Below it lies the root of each daemon, with all that it needs."""
TAGS = {"9p": "share-9p", "virtiofs-c": "share-c", "virtiofs-rust": "share-rust"}
"""Row -> the name that the guest knows the directory by that it shares with this machine."""

MS_RDONLY = 1
NFS = "addr=127.0.0.1,clientaddr=127.0.0.1,vers=4.2,proto=tcp"
SMB = "ip=127.0.0.1,unc=\\\\127.0.0.1\\share,guest,sec=none,user=,pass=,vers=3.0"
SMB_CONF = """
[global]
map to guest = bad user
guest account = root
disable netbios = yes
interfaces = lo
load printers = no
[share]
path = /srv
guest ok = yes
read only = no
"""


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
def _fuse2fs(directory: str) -> Iterator[str]:
    root, target = f"{DAEMONS}/fuse2fs", f"{directory}/mount"
    os.mkdir(target)
    loader = (f"{root}/lib64/ld-linux-x86-64.so.2", "--library-path", f"{root}/usr/lib/x86_64-linux-gnu")
    command = [*loader, f"{root}/usr/bin/fuse2fs", "-f", "-o", "allow_other", "/dev/disk/fuse2fs", target]
    with subprocess.Popen(command, stdout=sys.stderr) as server, _ended(server):
        _wait(server, lambda: target in kernel.mounts_below(directory))
        os.statvfs(target)  # answered, so FUSE_INIT is
        try:
            yield target
        finally:
            kernel.detach(target)


@contextmanager
def nfs_server() -> Iterator[Callable[[int], None]]:
    """knfsd with one directory as its root; yields what sets the number of its threads, and so stops it with 0."""
    root = f"{DAEMONS}/nfs-kernel-server"
    os.makedirs("/var/lib/nfs/v4recovery", exist_ok=True)
    options = "rw,no_root_squash,insecure,fsid=0,no_subtree_check"
    setup = f"""
        touch etc/exports var/lib/nfs/etab var/lib/nfs/rmtab
        mount -t nfsd nfsd proc/fs/nfsd
        mount -t tmpfs -o mode=0755 srv srv
        chroot . /usr/sbin/exportfs -o {options} 127.0.0.1:/srv
        exec chroot . /usr/sbin/rpc.mountd --foreground -N 3
    """

    def threads(number: int) -> None:
        command = ("rpc.nfsd", "-N", "3", "-V", "4.2", "-G", "10", "-L", "10", str(number))
        inside = ("nsenter", f"--mount=/proc/{mountd.pid}/ns/mnt", "chroot", root)
        subprocess.run([*inside, *command], stdout=sys.stderr, check=True)

    with _daemon(root, setup) as mountd:
        _wait(mountd, lambda: _listens(mountd))
        threads(1)
        _wait(mountd, lambda: _answers(2049))
        try:
            yield threads
        finally:
            threads(0)


@contextmanager
def nfs_mount(target: str, options: str = "") -> Iterator[None]:
    """What that server exports, on *target*; a hard mount, as Pods have them."""
    kernel.mount("127.0.0.1:/", target, "nfs4", 0, NFS + options)
    try:
        yield
    finally:
        kernel.detach(target)


@contextmanager
def _nfs(directory: str) -> Iterator[str]:
    target = f"{directory}/mount"
    os.mkdir(target)
    with nfs_server(), nfs_mount(target):
        yield target


@contextmanager
def _cifs(directory: str) -> Iterator[str]:
    root = f"{DAEMONS}/samba"
    with open(f"{root}/etc/samba/smb.conf", "w") as file:
        file.write(SMB_CONF)
    setup = """
        mount -t tmpfs run run
        mount -t tmpfs -o mode=0755 srv srv
        exec chroot . /usr/sbin/smbd --foreground --no-process-group
    """
    with _daemon(root, setup) as smbd:
        _wait(smbd, lambda: _answers(445))
        with _mounted(directory, "//127.0.0.1/share", "cifs", 0, SMB) as path:
            yield path


@contextmanager
def _daemon(root: str, setup: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that *setup*, a shell script, becomes in the end; it starts in *root* and has mounts of its own."""
    script = f"set -e; cd {root}; mount --rbind /proc proc; mount --rbind /dev dev\n{setup}"
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=sys.stderr)
    with _ended(process):
        yield process


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], condition: Callable[[], object], patience: float = 60) -> None:
    """Return when *condition* holds. *Errors*: OSError when *process* ended before, or that took too long."""
    end = time.monotonic() + patience
    while not condition():
        if process.poll() is not None:
            raise OSError(f"{process.args!r} ended with status {process.returncode}")
        if time.monotonic() > end:
            raise OSError(f"{process.args!r} is not ready after {patience:g} s")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _listens(process: subprocess.Popen[bytes]) -> bool:
    """Whether it waits for what the kernel asks about exports."""
    with suppress(OSError):
        for descriptor in os.listdir(f"/proc/{process.pid}/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/{process.pid}/fd/{descriptor}").endswith("/nfsd.export/channel"):
                    return True
    return False


def _rows() -> Iterator[Filesystem]:
    for name in ("xfs", "btrfs", "f2fs", "vfat", "exfat", "ntfs3", "ntfs", "erofs", "iso9660", "udf"):
        readonly = name in ("erofs", "iso9660")
        yield Filesystem(name, partial(_disk, name=name, fstype=name, readonly=readonly), (name,), readonly=readonly)
    yield Filesystem("nfs", _nfs, ("nfs4", "nfsd"))
    yield Filesystem("cifs", _cifs, ("cifs",))
    share = partial(_mounted, source=TAGS["9p"], fstype="9p", data="trans=virtio,version=9p2000.L")
    yield Filesystem("9p", share, ("9p",))
    for name in ("virtiofs-c", "virtiofs-rust"):
        yield Filesystem(name, partial(_mounted, source=TAGS[name], fstype="virtiofs"), ("virtiofs",))
    yield Filesystem("fuse2fs", _fuse2fs, ("fuse",))
    for name in PSEUDO:
        yield Filesystem(name, partial(_mounted, source="none", fstype=name), (name,))
    yield Filesystem("cgroup", partial(_mounted, source="none", fstype="cgroup", data="none,name=wide"), ("cgroup",))


ROWS = {row.name: row for row in _rows()}

if __name__ == "__main__":
    main()
