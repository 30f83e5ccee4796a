"""What guests of `scripts/kernel-matrix --wide` need from outside: disks of all formats, shares, and daemons' files.

The rows, and how they are mounted in a guest, are in wide_inside.py. All programs come from Debian through the cache
(see lab/real/debian.py) and nothing is installed; a row whose package cannot be had is named and left out.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.kernels import image, machine, wide_inside
from lab.kernels.inside import Job
from lab.kernels.packages import Kernel
from lab.kernels.wide_inside import ROWS, TAGS
from lab.kernels.wide_servers import DAEMONS
from lab.real import debian
from lab.real.debian import Broken, Recipe, Unavailable, loader_of, run
from lab.real.kernel import die_with_parent

SUITE = "trixie"
OLD_SUITE = "bookworm"  # its mkfs make what a kernel 5.10 mounts, and its qemu is the last one with a virtiofsd in C
MEMORY = 1536  # MiB of a guest

MODULES = (
    *("ext4", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "vfat", "exfat", "ntfs3", "ntfs", "erofs", "isofs", "udf"),
    *("fuse", "virtiofs", "overlay", "nfsd", "nfs", "nfsv4", "cifs", "9p", "9pnet_virtio"),
    *("autofs4", "configfs", "binfmt_misc"),
    *("aes_generic", "ccm", "cmac", "ctr", "ecb", "gcm", "hmac", "md5", "sha256_generic", "sha512_generic"),  # for cifs
    *("nls_ascii", "nls_cp437", "nls_iso8859_1", "nls_utf8"),
)
"""Loaded where a kernel has them."""


@dataclass(frozen=True)
class Format:
    """How a disk is made; IMAGE and SEED in *command* stand for the paths of its image and of a directory."""

    package: str
    command: str
    megabytes: int = 0  # of the empty image, or 0 where the command makes it by itself


FORMATS = {
    "xfs": Format("xfsprogs", "mkfs.xfs -q IMAGE", 300),  # it takes no less
    "ext3": Format("e2fsprogs", "mke2fs -q -t ext3 -F IMAGE", 16),
    "btrfs": Format("btrfs-progs", "mkfs.btrfs -q IMAGE", 128),
    "btrfs-subvolume": Format("btrfs-progs", "mkfs.btrfs -q IMAGE", 128),
    "jfs": Format("jfsutils", "mkfs.jfs -q IMAGE", 32),
    "nilfs2": Format("nilfs-tools", "mkfs.nilfs2 -q IMAGE", 256),
    "f2fs": Format("f2fs-tools", "mkfs.f2fs -q IMAGE", 64),
    "vfat": Format("dosfstools", "mkfs.fat IMAGE", 32),
    "exfat": Format("exfatprogs", "mkfs.exfat IMAGE", 32),
    "ntfs3": Format("ntfs-3g", "mkntfs -q -F IMAGE", 32),
    "ntfs": Format("ntfs-3g", "mkntfs -q -F IMAGE", 32),
    "ntfs-3g": Format("ntfs-3g", "mkntfs -q -F IMAGE", 32),
    "erofs": Format("erofs-utils", "mkfs.erofs --quiet IMAGE SEED"),
    "iso9660": Format("genisoimage", "genisoimage -quiet -R -o IMAGE SEED"),
    "udf": Format("udftools", "mkudffs --media-type=hd IMAGE", 32),
    "fuse2fs": Format("e2fsprogs", "mke2fs -q -t ext4 -F IMAGE", 16),
}
"""Row -> its disk, which the guest finds by that name."""

PACKAGES = {"nfs": "nfs-kernel-server", "cifs": "samba", "fuse2fs": "fuse2fs", "ntfs-3g": "ntfs-3g"}
"""Row -> the package whose files the guest has below DAEMONS."""

VIRTIOFSD = {
    "virtiofs-c": ("qemu-system-common", OLD_SUITE, "usr/lib/qemu/virtiofsd", "-o source={} -o sandbox=chroot"),
    "virtiofs-rust": ("virtiofsd", SUITE, "usr/libexec/virtiofsd", "--shared-dir {} --sandbox chroot"),
}
"""Row -> package, suite, program and arguments of the daemon, which is given the directory to share."""


@dataclass
class Outside:
    """What machine.boot is given, and the rows that the guest cannot have."""

    images: list[Path] = field(default_factory=list)
    disks: dict[str, Path] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)  # row -> why it cannot be had
    broken: dict[str, str] = field(default_factory=dict)  # row -> what was had for it, and does not work

    @contextmanager
    def needed_by(self, row: str) -> Iterator[None]:
        """What cannot be had in this block, or does not work, costs that row alone."""
        try:
            yield
        except Unavailable as problem:
            self.missing.setdefault(row, str(problem))
        except Broken as problem:
            self.broken.setdefault(row, str(problem))

    @property
    def documents(self) -> list[dict[str, str]]:
        """What is observed of those rows without a guest."""
        return [
            *({"row": name, "unavailable": why} for name, why in self.missing.items()),
            *({"row": name, "broken": why} for name, why in self.broken.items()),
        ]


def observe(kernel: Kernel, *, timeout: float = 900) -> machine.Outcome:
    """Boot *kernel*, and observe all rows in it; of a row that something was missing for, the outcome says what.

    *Errors*: as machine.boot.
    """
    runtimes = image.runtimes()
    with outside() as given:
        rows = tuple(name for name in ROWS if name not in given.missing | given.broken)
        outcome = machine.boot(
            kernel,
            [*image.images(), *given.images],
            inside(Job(runtimes, rows, ())),
            modules=MODULES,
            disks=given.disks,
            arguments=given.arguments,
            memory=MEMORY,
            timeout=timeout,
        )
    outcome.documents.extend(given.documents)
    return outcome


def inside(job: Job, *more: str, module: str = wide_inside.__name__, python: str = sys.executable) -> str:
    """The command that runs *module* in a guest, to observe what *job* says."""
    return f"cd {image.CHECKOUT} && {shlex.join([python, '-m', module, job.encode(), *more])}"


@contextmanager
def outside() -> Iterator[Outside]:
    """All that one guest with MEMORY needs: a virtiofsd serves no second one."""
    given = Outside()
    with tempfile.TemporaryDirectory(prefix="userns-probe-wide-") as scratch, ExitStack() as servers:
        seed = f"{scratch}/seed"
        os.makedirs(f"{seed}/d")
        for row, form in FORMATS.items():
            with given.needed_by(row):
                given.disks[row] = disk(form, Path(scratch, f"{row}.image"), seed)
        for row, package in PACKAGES.items():
            with given.needed_by(row):
                _root(package)
        given.images = [daemons(p for row, p in PACKAGES.items() if row not in given.missing | given.broken)]
        given.arguments = [
            *("-virtfs", f"local,path={seed},mount_tag={TAGS['9p']},security_model=none"),
            # A virtiofsd reads and writes the guest's memory.
            *("-object", f"memory-backend-memfd,id=memory,size={MEMORY}M,share=on"),
            *("-machine", "memory-backend=memory"),
        ]
        for row in VIRTIOFSD:
            with given.needed_by(row):
                listening = f"{scratch}/{row}.socket"
                servers.enter_context(_virtiofsd(row, seed, listening))
                given.arguments += ["-chardev", f"socket,id={row},path={listening}"]
                given.arguments += ["-device", f"vhost-user-fs-pci,chardev={row},tag={TAGS[row]}"]
        yield given


def disk(form: Format, target: Path, seed: str = "") -> Path:
    """Make it at *target*, with the content of the directory *seed* where its command has one.

    *Errors*: debian.Unavailable without the package; debian.Broken when its program fails.
    """
    name, *words = form.command.split()
    if form.megabytes:
        with open(target, "wb") as file:
            file.truncate(form.megabytes << 20)
    root = _root(form.package, OLD_SUITE)
    program = debian.first(filter(Path.exists, (root / each / name for each in ("sbin", "usr/sbin", "usr/bin"))), name)
    paths = {"IMAGE": target, "SEED": seed}
    run(*by_loader(root, program), *(paths.get(word, word) for word in words), failure=Broken)
    return target


@contextmanager
def node_disk() -> Iterator[Path]:
    """An empty ext4 for the files of a node's daemons."""
    with tempfile.TemporaryDirectory(prefix="userns-probe-disk-") as scratch:
        yield disk(Format("e2fsprogs", "mke2fs -q -t ext4 -F IMAGE", 512), Path(scratch, "image"))


def by_loader(root: Path, program: Path) -> list[str | Path]:
    """The command that runs *program*, which lies in a root made by debian.as_root, with the libraries beside it."""
    loader = loader_of(root)
    libraries = (root / usr / "lib" / loader.parent.name for usr in ("", "usr"))
    return [loader, "--library-path", ":".join(map(str, libraries)), program]


def daemons(packages: Iterable[str]) -> Path:
    """An image with the daemons' files, each package with all that it needs in a root of its own below DAEMONS."""
    roots = {package: _root(package) for package in packages}

    def fill(target: Path) -> None:
        for package, root in roots.items():
            ignore = shutil.ignore_patterns("doc", "locale", "man", "perl*", "python3*")
            shutil.copytree(root, target / DAEMONS.strip("/") / package, symlinks=True, ignore=ignore)

    return image.layer(f"daemons-{len(roots)}", [Path(__file__), *roots.values()], fill)


def _root(package: str, suite: str = SUITE) -> Path:
    return debian.fetch(package, suite, Recipe(finish=debian.as_root))


@contextmanager
def _virtiofsd(row: str, directory: str, listening: str) -> Iterator[None]:
    package, suite, program, arguments = VIRTIOFSD[row]
    root = _root(package, suite)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(listening)
        server.listen()
        command = [*by_loader(root, root / program), f"--fd={server.fileno()}", *arguments.format(directory).split()]
        daemon = subprocess.Popen(
            command, pass_fds=[server.fileno()], stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent
        )
    try:
        with suppress(subprocess.TimeoutExpired):
            _, said = daemon.communicate(timeout=0.5)
            raise Broken(f"virtiofsd of {package} ended: {said.strip()}")
        yield
    finally:
        daemon.kill()
        daemon.communicate()
