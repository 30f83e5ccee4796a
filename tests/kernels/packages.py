"""The kernels that Debian offers now, one of each series that a node may run, unpacked into the cache.

Each comes from the first of its suites that has one; a suite that is gone leaves what the cache holds of it. Run as a
program it fetches those that `scripts/test` boots, so that no test has to wait, and says what cannot be had.
"""

from __future__ import annotations

import lzma
import platform
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.real import debian
from tests.real.debian import Unavailable

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

    *Errors*: Unavailable when Debian offers it no longer, or cannot be reached, and the cache has none.
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
    (directory,) = (root / "lib/modules").iterdir()
    debian.run("/usr/sbin/depmod", "--basedir", root, directory.name)
    packed = next(iter([*root.glob("boot/vmlinuz-*"), *directory.glob("vmlinuz")]))
    if architecture == "amd64":
        (root / "kernel").write_bytes(_vmlinux(packed.read_bytes()))
    else:
        shutil.copy(packed, root / "kernel")
    packed.unlink()
    for useless in ("usr/share", "usr/lib/linux-image", "boot"):
        shutil.rmtree(root / useless, ignore_errors=True)


def _vmlinux(image: bytes) -> bytes:
    """The kernel proper, which qemu boots by PVH: unpacking itself takes it seconds under emulation.

    *Source*: Documentation/arch/x86/boot.rst, setup_sects, payload_offset and payload_length.
    """
    real_mode = (image[0x1F1] + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[real_mode + offset : real_mode + offset + length - 4]  # its last word is the unpacked size
    if payload.startswith(_XZ):
        unpacked = lzma.decompress(payload)
    elif payload.startswith(_ZSTD):
        unpacked = subprocess.run(["zstd", "-dcq"], input=payload, stdout=subprocess.PIPE, check=True).stdout
    else:
        raise Unavailable(f"a kernel that is compressed in an unknown way: {payload[:6].hex()}")
    if not unpacked.startswith(_ELF):
        raise Unavailable("what lies in the kernel's image is no ELF file")
    return unpacked


if __name__ == "__main__":
    for _series in sys.argv[1:] or ("6.1", NEWEST):
        try:
            kernel(_series)
        except Unavailable as _problem:
            sys.stderr.write(f"{_problem}\n")
