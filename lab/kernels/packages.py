"""The kernels that Debian offers now, one of each series that a node may run, unpacked into the cache.

Each comes from the first of its suites that has one; a suite that is gone leaves what the cache holds of it. Run as a
program it fetches those that `scripts/test` boots, so that no test has to wait, and says what cannot be had.
"""

from __future__ import annotations

import lzma
import platform
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.real import debian
from lab.real.debian import Broken, Unavailable

NEWEST = "newest"
SERIES = {
    "5.10": ("bullseye-security", "bullseye"),  # the last long-term kernel without mount_setattr(2)
    "6.1": ("bookworm-security", "bookworm"),  # idmaps disks and no tmpfs
    "6.12": ("trixie-security", "trixie"),  # tmpfs, too, and FUSE where its server wants it
    NEWEST: ("trixie-backports",),
}
"""Series -> Debian's suites that have it, the one that is updated first at the front."""

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This machine's architecture, as Debian calls it."""

LOADED_BY_NAME = {"autofs": "autofs4", "ext3": "ext4", "fuseblk": "fuse", "iso9660": "isofs", "nfs4": "nfsv4"}
"""File system -> module, where they are called differently."""

DEPMOD = "/usr/sbin/depmod"
_SETUP_END = 0x250  # of the header of a bzImage, as far as it is read here
_XZ, _ZSTD, _ELF = b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x7fELF"


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel with its modules."""

    series: str  # as in SERIES
    version: str  # of its Debian package: 6.1.192-2
    suite: str
    architecture: str  # as Debian calls it
    directory: Path  # holds lib/modules

    @property
    def image(self) -> Path:
        """What qemu boots."""
        return self.directory / "kernel"

    @property
    def release(self) -> str:
        """What `uname -r` says in it."""
        return next((self.directory / "lib/modules").iterdir()).name

    def __str__(self) -> str:
        return f"{self.release} ({self.version}, {self.suite})"


@debian.once
def kernel(series: str, architecture: str = HERE) -> Kernel:
    """The kernel of that series, as new as can be had.

    *Errors*: Unavailable when Debian offers it no longer, or cannot be reached, and the cache has none; Broken when it
    offers one that cannot be made to boot.
    """
    package = f"linux-image-{architecture}"
    # The packages of one kernel end in its architecture; the others that it depends on are of no use to a guest.
    names = rf"linux-(image|binary|modules|base)-.*{architecture}"
    foreign = "" if architecture == HERE else architecture
    recipe = debian.Recipe(only=names, finish=partial(_prepare, architecture=architecture), architecture=foreign)
    problems = []
    for suite in SERIES[series]:
        try:
            directory = debian.fetch(package, suite, recipe)
        except Unavailable as problem:
            problems.append(f"{suite}: {problem}")
            continue
        version = debian.recorded(suite, foreign)[package]
        return Kernel(series, version, suite, architecture, directory)
    raise Unavailable(f"no Linux {series} for {architecture}: " + "; ".join(problems))


def _prepare(root: Path, target: Path, *, architecture: str) -> None:
    """Make what dpkg would make when it installs the packages, and a kernel that boots quickly."""
    if not (root / "lib").exists():  # from 7.2 on all of it lies in /usr
        (root / "lib").symlink_to("usr/lib")
    directory = debian.first(root.glob("lib/modules/*"), "lib/modules")
    debian.run(DEPMOD, "--basedir", root, directory.name, failure=Broken)
    packed = debian.first([*root.glob("boot/vmlinuz-*"), *directory.glob("vmlinuz")], "vmlinuz")
    if architecture == "amd64":
        (root / "kernel").write_bytes(_vmlinux(packed.read_bytes()))
    else:
        shutil.copy(packed, root / "kernel")
    packed.unlink()
    for useless in ("usr/share", "usr/lib/linux-image", "boot"):
        shutil.rmtree(root / useless, ignore_errors=True)


def _vmlinux(image: bytes) -> bytes:
    """The kernel proper, which qemu boots by PVH: unpacking itself takes it seconds under emulation.

    *Source*: Documentation/arch/x86/boot.rst, setup_sects, payload_offset and payload_length. *Errors*: Broken.
    """
    if len(image) < _SETUP_END:
        raise Broken(f"a kernel of {len(image)} bytes")
    real_mode = (image[0x1F1] + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[real_mode + offset : real_mode + offset + length - 4]  # its last word is the unpacked size
    if not payload.startswith((_XZ, _ZSTD)):
        raise Broken(f"a kernel that is compressed in an unknown way: {payload[:6].hex()}")
    unpacked = decompressed(payload)
    if not unpacked.startswith(_ELF):
        raise Broken("what lies in the kernel's image is no ELF file")
    return unpacked


def decompressed(content: bytes) -> bytes:
    """What is in *content*, which xz, zstd or nobody has compressed. *Errors*: Broken; Unavailable without zstd."""
    try:
        if content.startswith(_XZ):
            return lzma.decompress(content)
        if content.startswith(_ZSTD):
            return subprocess.run(["zstd", "-dcq"], input=content, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise Unavailable("command zstd is not there") from None
    except (lzma.LZMAError, subprocess.CalledProcessError) as problem:
        raise Broken(f"what is no archive though it looks like one: {problem}") from problem
    return content


def offers(kernel: Kernel, fstypes: Iterable[str]) -> bool:
    """Whether that kernel's package has these file systems: then a guest that says it has not is wrong."""
    directory = kernel.directory / "lib/modules" / kernel.release
    names = (directory / "modules.builtin").read_text() + (directory / "modules.dep").read_text()
    wanted = (LOADED_BY_NAME.get(fstype, fstype) for fstype in fstypes)
    return all(re.search(rf"/{name}\.ko(\.\w+)?(:|$)", names, re.MULTILINE) for name in wanted)


if __name__ == "__main__":
    for _series in sys.argv[1:] or ("6.1", "6.12", NEWEST):
        try:
            kernel(_series)
        except (Unavailable, Broken) as _problem:
            sys.stderr.write(f"{_problem}\n")
