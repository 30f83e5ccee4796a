"""The root of a guest, as squashfs images in which each path is what it is on this machine.

Three layers, so that a change costs no more than one: `system` has the running interpreter with its library, the
runtimes and the tools; `packages` has the project's dependencies, and the virtual environment that they lie in;
`checkout` has `probe` and `lab`. They lie in the cache, named by a digest of what went into them.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from lab.real import debian, packages
from lab.real.debian import Unavailable, run

CHECKOUT = Path(__file__).parents[2]
TOOLS = ("busybox", "mount", "umount", "nsenter", "unshare", "setpriv", "modprobe", "mkfs.ext4", "mksquashfs")
"""Programs of this machine that tests in a guest call."""

_STDLIB_WITHOUT = (
    "__pycache__",
    "config-*",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "site-packages",
    "test",
    "tkinter",
    "*.a",
)
_MERGED = ("bin", "sbin", "lib", "lib64")  # on most machines links into /usr
_LINKER = Path("/etc/ld.so.cache")  # changes with the machine's libraries
_FORGOTTEN_AFTER = 24 * 3600  # seconds in which nobody asked for an image; earlier another test run could just boot it


def images(*tools: str) -> list[Path]:
    """The layers of a guest's root, the last one on top; *tools* are further programs of this machine, by name or path.

    *Errors*: debian.Unavailable when a program is not there.
    """
    return [_system((*TOOLS, *tools)), _packages(), _checkout()]


def python_packages(*names: str) -> Path:
    """A further layer: Python distributions of this machine that only tests need, with those that they need."""
    found = list(_files(_distributions(names, set())))

    def fill(root: Path) -> None:
        for path in (*found, *_libraries(found)):
            _copy(path, root)

    return layer("python", found, fill)


def runtimes() -> dict[str, packages.Runtime]:
    """containerd, and the OCI runtimes that idmap; in the guest they lie where they lie here."""
    return {
        "runc": packages.runtime("runc", (1, 2)),
        "crun": packages.runtime("crun", (1, 9)),
        "containerd": packages.containerd(),
    }


def _checkout() -> Path:
    found = [path for name in ("probe", "lab") for path in sorted((CHECKOUT / name).rglob("*"))]
    sources = [path for path in found if path.is_file() and "__pycache__" not in path.parts]

    def fill(root: Path) -> None:
        for path in sources:
            _copy(path, root)
        _compile(root, CHECKOUT)

    return layer("checkout", sources, fill)


def _system(tools: Iterable[str]) -> Path:
    fetched = runtimes()
    shim = fetched["containerd"].beside("containerd-shim-runc-v2")
    programs = [_program(name) for name in (*tools, shim, *(one.path for one in fetched.values()))]
    stdlib, interpreter = Path(sysconfig.get_path("stdlib")), list(_interpreter())[-1]

    def fill(root: Path) -> None:
        for name in _MERGED:
            if os.path.islink(f"/{name}"):
                (root / os.readlink(f"/{name}")).mkdir(parents=True, exist_ok=True)
                (root / name).symlink_to(os.readlink(f"/{name}"))
        shutil.copytree(stdlib, root / stdlib.relative_to("/"), ignore=shutil.ignore_patterns(*_STDLIB_WITHOUT))
        binaries = [interpreter, *programs, *stdlib.glob("lib-dynload/*.so")]
        for path in (*binaries, *_libraries(binaries), Path("/etc/os-release")):
            _copy(path, root)
        link_applets(root)
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
        (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (root / "etc/resolv.conf").write_text("")
        _compile(root, stdlib)

    return layer("system", [*programs, interpreter, stdlib, _LINKER], fill)


def _packages() -> Path:
    *links, interpreter = _interpreter()
    configuration = [Path(sys.prefix, "pyvenv.cfg")] if sys.prefix != sys.base_prefix else []
    files = [*links, *configuration, *_modules()]

    def fill(root: Path) -> None:
        for path in (*files, *_libraries(files)):
            _copy(path, root)
        _compile(root, *{Path(str(one.locate_file(""))) for one in _needed()})

    return layer("packages", [*files, interpreter, _LINKER], fill)


def link_applets(root: Path) -> None:
    """Give a root busybox for every command that it does not have."""
    for applet in run(_program("busybox"), "--list").split():
        if not any(os.path.lexists(root / "usr" / each / applet) for each in ("bin", "sbin")):
            (root / "usr/bin" / applet).symlink_to("/bin/busybox")


def _interpreter() -> Iterator[Path]:
    """What makes sys.executable run: in a virtual environment the links that lead to the program, and the program."""
    link = Path(sys.executable)
    while link.is_symlink():
        yield link
        link = link.parent / os.readlink(link)
    yield link


def _modules() -> Iterator[Path]:
    """The files of all Python packages that the project needs to run."""
    return _files(_needed())


def _files(distributions: Iterable[metadata.Distribution]) -> Iterator[Path]:
    for distribution in distributions:
        for file in distribution.files or ():
            path = Path(str(file.locate()))
            if ".." not in file.parts and path.suffix != ".pyc" and path.is_file():
                yield path


def _needed() -> Iterator[metadata.Distribution]:
    """The distributions that the project needs to run, directly or not."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return _distributions(project["dependencies"], set())


def _distributions(requirements: Iterable[str], seen: set[str]) -> Iterator[metadata.Distribution]:
    """The distributions behind *requirements*, and those that they need, without extras."""
    for requirement in requirements:
        needed = re.match(r"[\w.-]+", requirement)
        if needed and needed[0] not in seen and not re.search(r";.*\bextra\b", requirement):
            seen.add(needed[0])
            with suppress(metadata.PackageNotFoundError):  # it is for another Python or another system
                yield metadata.distribution(needed[0])
                yield from _distributions(metadata.requires(needed[0]) or (), seen)


def _program(name: str) -> Path:
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if not path:
        raise Unavailable(f"command {name} is not there")
    return Path(path)


def _libraries(files: Iterable[Path]) -> set[Path]:
    """All shared libraries that these files need, the loader among them."""
    found = set()
    for file in files:
        if file.suffix == ".so" or os.access(file, os.X_OK):
            said = subprocess.run(
                ["ldd", file], capture_output=True, text=True, check=False
            )  # fails for what is static
            found |= set(re.findall(r"(/\S+) ", said.stdout))
    return set(map(Path, found))


def _copy(path: Path, root: Path) -> None:
    """Put *path* of this machine where it belongs in the image, its content where it is a link to elsewhere."""
    target = root / os.path.realpath(path.parent).lstrip("/") / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and path.name.startswith("python"):
        target.symlink_to(os.readlink(path))
    elif not target.exists():
        shutil.copy2(path, target)


def _compile(root: Path, *directories: Path) -> None:
    """Byte code for all modules: under emulation, compiling them would take longer than all the rest."""
    with _beside_the_source():
        for directory in directories:
            compileall.compile_dir(
                root / directory.relative_to("/"),
                stripdir=str(root),
                quiet=2,
                workers=0,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )


@contextmanager
def _beside_the_source() -> Iterator[None]:
    """Where a guest finds byte code, though PYTHONPYCACHEPREFIX may name another place for that of this process."""
    prefix, sys.pycache_prefix = sys.pycache_prefix, None
    try:
        yield
    finally:
        sys.pycache_prefix = prefix


def layer(name: str, sources: Iterable[Path], fill: Callable[[Path], None]) -> Path:
    """The image of that name, from the cache if *sources* are the same as when *fill* filled it."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode())
    for path in sources:
        seen = path.stat()
        digest.update(f"{path} {seen.st_size} {seen.st_mtime_ns}\n".encode())
    with debian.locked(debian.cache("guests")) as directory:
        image = directory / f"{name}-{digest.hexdigest()[:16]}.squashfs"
        if not image.exists():
            for old in directory.glob(f"{name}-*.squashfs"):
                if time.time() - old.stat().st_mtime > _FORGOTTEN_AFTER:
                    old.unlink()
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                root, new = Path(scratch, "root"), Path(scratch, "image")
                root.mkdir()
                fill(root)
                run("mksquashfs", root, new, "-comp", "lz4", "-all-root", "-no-progress", "-quiet")
                new.rename(image)
        os.utime(image)
        return image
