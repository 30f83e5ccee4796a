"""Every kind of file system that a volume may lie on, really made and mounted, as rows of one catalog.

Nothing is left behind: each row unmounts what it mounted, loop devices detach with their mount, and all of it happens
in the mount namespace of the test run (see tests/real/fixtures.py), which the kernel clears even after a `kill -9`.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from lab.real import kernel
from lab.real.fuse_server import FuseServer

IDMAPPED_FIRST = 300000  # where the row that is idmapped already shows its root's files


@dataclass(frozen=True)
class Filesystem:
    """One row: what a volume's path can lie on, and what it takes to make such a path."""

    name: str
    make: Callable[[str], AbstractContextManager[str]]  # from an empty directory to the path of a volume below it
    types: tuple[str, ...]  # as in /proc/filesystems
    tools: tuple[str, ...] = ()
    readonly: bool = False  # a container must ask for it read-only, or runc refuses

    def missing(self) -> str:
        """What this machine lacks for this row, in words; empty when nothing."""
        tools = [f"command {tool}" for tool in self.tools if not shutil.which(tool)]
        types = [f"file system {fstype} in this kernel" for fstype in self.types if not _kernel_knows(fstype)]
        return ", ".join(tools + types)


@contextmanager
def filesystem(name: str, below: str, row: Filesystem | None = None) -> Iterator[str]:
    """The path of a new volume on *name*, in a directory of its own below *below*; root's, with entries `d` and `f`.

    *row* is that of the catalog unless given.
    """
    directory = tempfile.mkdtemp(prefix=f"{name}-", dir=below)
    os.chmod(directory, 0o755)  # a container's root has to get through
    try:
        with (row or CATALOG[name]).make(directory) as path:
            yield path
    finally:
        left = kernel.mounts_below(directory)
        assert not left, f"{name} left mounts behind: {left}"  # before rmtree empties what they show
        shutil.rmtree(directory)


def _kernel_knows(fstype: str) -> bool:
    def listed() -> bool:
        with open("/proc/filesystems") as lines:
            return any(line.split()[-1] == fstype for line in lines)

    if not listed() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", f"fs-{fstype}"], check=False)
    return listed()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


def filled(path: str) -> str:
    """*path*, a directory, with a directory and a file in it."""
    os.makedirs(f"{path}/d", exist_ok=True)
    open(f"{path}/f", "w").close()
    return path


@contextmanager
def mounted(directory: str, source: str, fstype: str, options: str) -> Iterator[str]:
    """Where *source* is mounted, in a directory of its own below *directory*."""
    target = tempfile.mkdtemp(prefix="mount-", dir=directory)
    _run("mount", "-n", "-t", fstype, "-o", options, source, target)
    try:
        yield target
    finally:
        # Unmounting for good comes first, so that a loop device is free again when this returns. Only when something
        # still uses the mount (a container that hangs) it is left to the kernel to do so later.
        if subprocess.run(["umount", "-n", target], capture_output=True, check=False).returncode:
            kernel.detach(target)


@contextmanager
def disk(directory: str, fstype: str, mkfs: str, megabytes: int) -> Iterator[str]:
    """A new file system of that size in a sparse image file."""
    image = f"{directory}/image"
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    _run(*mkfs.split(), image)
    with mounted(directory, image, fstype, "loop") as path:
        yield filled(path)


def _ext4(directory: str, megabytes: int = 16) -> AbstractContextManager[str]:
    return disk(directory, "ext4", "mkfs.ext4 -q -m 0", megabytes)


@contextmanager
def _packed(directory: str, fstype: str, pack: str) -> Iterator[str]:
    """A read-only file system that the command *pack* makes from a directory; SEED and IMAGE stand for their paths."""
    paths = {"SEED": f"{directory}/seed", "IMAGE": f"{directory}/image"}
    filled(paths["SEED"])
    _run(*[paths.get(word, word) for word in pack.split()])
    with mounted(directory, paths["IMAGE"], fstype, "loop,ro") as path:
        yield path


@contextmanager
def _without_disk(directory: str, fstype: str, options: str = "mode=0755") -> Iterator[str]:
    with mounted(directory, "test", fstype, options) as path:
        yield filled(path)


@contextmanager
def _proc(directory: str) -> Iterator[str]:
    # Not a whole proc: a second one that nothing covers would heal a covered /proc, which other tests are about.
    with mounted(directory, "/proc/sys", "none", "bind") as path:
        yield path


@contextmanager
def _overlay(directory: str) -> Iterator[str]:
    layers = {name: f"{directory}/{name}" for name in ("lowerdir", "upperdir", "workdir")}
    for layer in layers.values():
        os.mkdir(layer)
    with _without_disk(directory, "overlay", ",".join(map("=".join, layers.items()))) as path:
        yield path


@contextmanager
def _fuse(directory: str, opt_in: bool) -> Iterator[str]:
    mountpoint = f"{directory}/fuse"
    os.mkdir(mountpoint)
    with FuseServer(mountpoint, idmap=opt_in, default_permissions=opt_in):
        yield mountpoint


@contextmanager
def _fuse_below_ext4(directory: str) -> Iterator[str]:
    with _ext4(directory) as path, _fuse(path, opt_in=False):
        yield path


@contextmanager
def _btrfs_subvolume(directory: str) -> Iterator[str]:
    with CATALOG["btrfs"].make(directory) as path:
        _run("btrfs", "-q", "subvolume", "create", f"{path}/subvolume")
        yield filled(f"{path}/subvolume")


@contextmanager
def _ext4_changed(directory: str, option: str) -> Iterator[str]:
    with _ext4(directory) as path:
        _run("mount", "-n", option, path)
        yield path


@contextmanager
def _ext4_full(directory: str) -> Iterator[str]:
    with _ext4(directory, megabytes=4) as path:
        with open(f"{path}/filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        yield path


@contextmanager
def _ext4_idmapped(directory: str) -> Iterator[str]:
    with _ext4(directory) as path:
        again = f"{directory}/idmapped"
        os.mkdir(again)
        kernel.mount_idmapped(path, again, IDMAPPED_FIRST)
        try:
            yield again
        finally:
            kernel.detach(again)


@contextmanager
def _ext4_entry(directory: str, entry: str) -> Iterator[str]:
    with _ext4(directory) as path:
        os.symlink("d", f"{path}/link")
        yield f"{path}/{entry}"


def _rows() -> Iterator[Filesystem]:
    ext4 = partial(Filesystem, types=("ext4",), tools=("mkfs.ext4",))
    yield ext4("ext4", _ext4)
    yield ext4("ext4-readonly", partial(_ext4_changed, option="-oremount,ro"), readonly=True)
    yield ext4("ext4-full", _ext4_full)
    yield ext4("idmapped", _ext4_idmapped)
    yield ext4("unbindable", partial(_ext4_changed, option="--make-unbindable"))
    yield ext4("file", partial(_ext4_entry, entry="f"))
    yield ext4("symlink", partial(_ext4_entry, entry="link"))
    # ext3 is served by the ext4 driver too, which idmaps only what was mounted as ext4. mkfs.xfs takes no less than
    # 300 MB, mkfs.btrfs no less than 109.
    for fstype, megabytes in (("ext3", 16), ("xfs", 320), ("btrfs", 128)):
        mkfs = f"mkfs.{fstype}"
        make = partial(disk, fstype=fstype, mkfs=f"{mkfs} -q", megabytes=megabytes)
        yield Filesystem(fstype, make, (fstype,), (mkfs,))
    yield ext4("ext3-as-ext4", partial(disk, fstype="ext4", mkfs="mkfs.ext3 -q", megabytes=16), tools=("mkfs.ext3",))
    yield Filesystem("btrfs-subvolume", _btrfs_subvolume, ("btrfs",), ("mkfs.btrfs", "btrfs"))
    packed = partial(Filesystem, readonly=True)
    erofs = partial(_packed, fstype="erofs", pack="mkfs.erofs --quiet IMAGE SEED")
    yield packed("erofs", erofs, ("erofs",), ("mkfs.erofs",))
    squashfs = partial(_packed, fstype="squashfs", pack="mksquashfs SEED IMAGE -no-progress")
    yield packed("squashfs", squashfs, ("squashfs",), ("mksquashfs",))
    for fstype in ("tmpfs", "ramfs", "hugetlbfs"):
        yield Filesystem(fstype, partial(_without_disk, fstype=fstype), (fstype,))
    yield Filesystem("proc", _proc, ("proc",))
    yield Filesystem("overlay", _overlay, ("overlay",))
    yield Filesystem("fuse", partial(_fuse, opt_in=False), ("fuse",))
    yield Filesystem("fuse-idmap", partial(_fuse, opt_in=True), ("fuse",))
    yield Filesystem("fuse-below-ext4", _fuse_below_ext4, ("ext4", "fuse"), ("mkfs.ext4",))


CATALOG = {row.name: row for row in _rows()}
