"""Servers that a guest of `scripts/kernel-matrix --wide` runs for itself, from the files of Debian's packages.

Each lies with all that it needs below DAEMONS (see wide.py).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lab.real import kernel

DAEMONS = "/daemons"
"""Below it lies the root of each daemon."""

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


@contextmanager
def served(directory: str, name: str, options: str) -> Iterator[str]:
    """A disk by a FUSE server, whose package is called like its program and that disk."""
    root, target = f"{DAEMONS}/{name}", f"{directory}/mount"
    os.mkdir(target)
    loader = (f"{root}/lib64/ld-linux-x86-64.so.2", "--library-path", f"{root}/usr/lib/x86_64-linux-gnu")
    command = [*loader, f"{root}/usr/bin/{name}", *options.split(), f"/dev/disk/{name}", target]
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
def samba() -> Iterator[None]:
    """smbd, which serves what SMB mounts."""
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
        yield


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


def _wait(process: subprocess.Popen[bytes], condition: Callable[[], object], timeout: float = 60) -> None:
    """Return when *condition* holds. *Errors*: OSError when *process* ended before, or that took too long."""
    end = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None:
            raise OSError(f"{process.args!r} ended with status {process.returncode}")
        if time.monotonic() > end:
            raise OSError(f"{process.args!r} is not ready after {timeout:g} s")
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
