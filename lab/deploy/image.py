"""The image, really built by scripts/image, on a base that debootstrap makes as no image registry may be at hand.

All of it lies in a cache of its own, outside of the checkout and of the machine's container storage. What is built
from the same sources a second time comes from there within seconds. Run as a program it builds, so that no test has to
wait, and says why it cannot.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.real import debian
from lab.real.debian import Unavailable
from probe import __version__

CHECKOUT = Path(__file__).parents[2]
SUITE = "trixie"
BASE = "debian:trixie-slim"  # as the Dockerfile's FROM names it
FRESH_FOR = 7 * 24 * 3600  # seconds in which the same base is used
KEPT_FOR = 2 * 3600  # seconds in which an unpacked image may be in use
ROOM = 4 << 30  # bytes that old builds may take
OVERLAYFS_SUPER_MAGIC = 0x794C7630
# What Debian's own slim images leave out.
NEEDLESS = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
EXCLUDES = "".join(f"path-exclude /{each}/*\n" for each in NEEDLESS)


@dataclass(frozen=True)
class Image:
    """The built image, unpacked."""

    rootfs: Path
    configuration: dict[str, Any]  # the image's own: Env, Entrypoint, Labels


@debian.once
def build() -> Image:
    """The image as this checkout has it."""
    cache = debian.cache("images")
    with debian.locked(cache):
        environment = _storage(cache)
        if _used(cache / "storage") > ROOM:
            shutil.rmtree(cache / "storage")
        _import_base(cache, environment)
        command = [CHECKOUT / "scripts/image", "--builder", "buildah", "--wheels", "--", "--pull-never"]
        debian.run(*command, environment=environment)
        return _unpack(cache, environment)


def digest(epoch: int) -> str:
    """Digest of the image, built without any layer of before, with all its times at *epoch* (SOURCE_DATE_EPOCH)."""
    cache = debian.cache("images")
    with debian.locked(cache):
        environment = _storage(cache) | {"SOURCE_DATE_EPOCH": str(epoch)}
        _import_base(cache, environment)
        tag = "userns-probe:reproduced"
        command = [CHECKOUT / "scripts/image", "--builder", "buildah", "--wheels", "--tag", tag]
        debian.run(*command, "--", "--pull-never", "--no-cache", environment=environment)
        try:
            return debian.run("buildah", "images", "--format", "{{.Digest}}", tag, environment=environment).strip()
        finally:
            debian.run("buildah", "rmi", tag, environment=environment)


def save(file: str, name: str) -> None:
    """Write the built image to *file* under *name*, as `podman save` does."""
    cache = debian.cache("images")
    with debian.locked(cache):
        target = f"docker-archive:{file}:{name}"
        built = f"localhost/userns-probe:{__version__}"
        debian.run("buildah", "push", "--quiet", built, target, environment=_storage(cache))


def _storage(cache: Path) -> dict[str, str]:
    """The environment in which buildah keeps everything in *cache*."""
    driver = "vfs" if _is_overlay(cache) else "overlay"
    configuration = cache / "storage.conf"
    places = f'graphroot = "{cache}/storage"\nrunroot = "{cache}/run"\n'
    configuration.write_text(f'[storage]\ndriver = "{driver}"\n{places}')
    return os.environ | {
        "CONTAINERS_STORAGE_CONF": str(configuration),
        "BUILDAH_ISOLATION": "chroot",  # needs no runtime, and works in containers
        "LC_ALL": "C",
    }


def _is_overlay(path: Path) -> bool:
    """Whether an overlay could not be made of directories there."""
    return debian.run("stat", "--file-system", "--format=%t", path).strip() == f"{OVERLAYFS_SUPER_MAGIC:x}"


def _used(path: Path) -> int:
    return int(debian.run("du", "--summarize", "--bytes", path).split()[0]) if path.exists() else 0


def _import_base(cache: Path, environment: dict[str, str]) -> None:
    """Make BASE an image of that storage, unless a recent one is there."""
    archive = cache / f"{SUITE}.tar"
    if not archive.exists() or time.time() - archive.stat().st_mtime > FRESH_FOR:
        try:
            _debootstrap(cache, archive)
        except Unavailable:
            if not archive.exists():
                raise
    there = debian.run("buildah", "images", "--format", "{{.Name}}:{{.Tag}}", environment=environment).split()
    marker = cache / "storage" / "base"
    imported = any(name.endswith(f"/{BASE}") for name in there)  # below whichever name buildah gives to short ones
    if imported and marker.exists() and marker.read_text() == str(archive.stat().st_mtime):
        return
    container = debian.run("buildah", "from", "scratch", environment=environment).strip()
    for step in (("add", container, archive, "/"), ("commit", container, BASE), ("rm", container)):
        debian.run("buildah", *step, environment=environment)
    marker.write_text(str(archive.stat().st_mtime))


def _debootstrap(cache: Path, archive: Path) -> None:
    mirror = debian.mirror(cache)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        root = Path(scratch, "root")
        debian.run("debootstrap", "--variant=minbase", f"--keyring={debian.KEYRING}", SUITE, root, mirror)
        for each in (*NEEDLESS, "var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / each, ignore_errors=True)
        (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(EXCLUDES)
        debian.run("tar", "--directory", root, "--numeric-owner", "--create", "--file", f"{archive}.new", ".")
        os.replace(f"{archive}.new", archive)


def _unpack(cache: Path, environment: dict[str, str]) -> Image:
    """The image's files in a directory that carries its id; those that nobody used for long are removed."""
    name = f"localhost/userns-probe:{__version__}"
    inspected = json.loads(debian.run("buildah", "inspect", "--type", "image", name, environment=environment))
    rootfs = cache / f"rootfs-{inspected['FromImageID'][:12]}"
    if not rootfs.exists():
        for old in cache.glob("rootfs-*"):
            if time.time() - old.stat().st_mtime > KEPT_FOR:  # another run may use a younger one
                shutil.rmtree(old)
        container = debian.run("buildah", "from", "--pull-never", name, environment=environment).strip()
        try:
            mounted = debian.run("buildah", "mount", container, environment=environment).strip()
            debian.run("cp", "--archive", mounted, f"{rootfs}.new")
        finally:
            debian.run("buildah", "rm", container, environment=environment)
        os.rename(f"{rootfs}.new", rootfs)
    os.utime(rootfs)
    return Image(rootfs, inspected["OCIv1"]["config"])


if __name__ == "__main__":
    try:
        build()
    except Unavailable as _problem:
        sys.stderr.write(f"the image: {_problem}\n")
