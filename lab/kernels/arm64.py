"""The smoke boot of the kernel matrix on arm64: Debian's kernel, Python and runtimes of it, all of them emulated.

The project's dependencies are the wheels that requirements.lock names for the image, so this is also what runs on a
node. Nothing is installed here; where one of the packages cannot be had, debian.Unavailable says which, and where one
does not work or a wheel is missing, debian.Broken does.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from lab.kernels import image, machine
from lab.kernels.filesystems import MODULES, OVERLAY_LAYERS
from lab.kernels.inside import DISK, Job
from lab.kernels.packages import Kernel
from lab.kernels.wide import inside, node_disk
from lab.real import debian
from lab.real.debian import Broken, Recipe, run
from lab.real.packages import Runtime

ARCHITECTURE = "arm64"
SERIES = "6.12"
SUITE = "trixie"  # of the image, whose Python requirements.lock is for
PACKAGES = (
    *("python3", "libstdc++6"),  # which the wheel of protobuf wants there
    *("crun", "busybox-static", "util-linux", "mount", "e2fsprogs"),
)
RUNTIMES = {"runc": "sid", "containerd": "sid"}  # the first suite whose containerd knows the CRI of today
PYTHON = "/usr/bin/python3"
LIBRARY = "usr/lib/python3/dist-packages"
LOCK = image.CHECKOUT / "requirements.lock"
MACHINE = "aarch64"  # as wheels call it
GLIBC = 41  # minor version of the suite's; a wheel for an older one runs there, too

ROWS = ("ext4", "tmpfs", "proc", "overlay", OVERLAY_LAYERS)
SCENARIOS = ("plain", "--try-runtime")
FAST = ("-cpu", "cortex-a72")  # `max` signs each pointer, which takes an emulator long
OWN_LIBRARIES = Recipe(architecture=ARCHITECTURE)


def observe(kernel: Kernel, *, timeout: float = 900) -> tuple[dict[str, Runtime], machine.Outcome]:
    """Boot it, and observe there what inside.py does on all kernels, with fewer rows and scenarios, by these runtimes.

    *Errors*: debian.Unavailable, debian.Broken; as machine.boot.
    """
    fetched = {package: debian.fetch(package, suite, OWN_LIBRARIES) for package, suite in RUNTIMES.items()}
    images = [_system(fetched.values()), image.images()[-1]]
    runtimes = {"crun": Runtime("crun", "/usr/bin/crun", _version("crun", SUITE), SUITE)}
    for package, suite in RUNTIMES.items():
        programs = (path for path in fetched[package].glob(f"usr/*bin/{package}") if not path.is_symlink())
        program = debian.first(programs, package)
        runtimes[package] = Runtime(package, str(program), _version(package, suite), suite)
    words = inside(Job(runtimes, ROWS, SCENARIOS), module="lab.kernels.inside", python=PYTHON)
    with node_disk() as node:
        given = {"modules": MODULES, "disks": {DISK: node}, "arguments": FAST, "timeout": timeout}
        return runtimes, machine.boot(kernel, images, words, **given)


def _version(package: str, suite: str) -> tuple[int, ...]:
    upstream = debian.recorded(suite, ARCHITECTURE)[package].partition("-")[0]
    return tuple(map(int, re.findall(r"\d+", upstream)))


def _system(runtimes: Iterable[Path]) -> Path:
    """The root of the guest; *runtimes* lie in it where they lie here."""
    recipe = Recipe(finish=debian.as_root, architecture=ARCHITECTURE)
    roots = [debian.fetch(package, SUITE, recipe) for package in PACKAGES]

    def fill(target: Path) -> None:
        for root in roots:
            run("cp", "--archive", "--remove-destination", f"{root}/.", target, failure=Broken)
        for directory in runtimes:
            useless = shutil.ignore_patterns("share", "systemd", "python3*", "perl*")
            shutil.copytree(directory, target / directory.relative_to("/"), symlinks=True, ignore=useless)
        _install(target / LIBRARY)
        _compile(target)
        image.link_applets(target)

    return image.layer(f"system-{ARCHITECTURE}", [Path(__file__), LOCK, *roots, *runtimes], fill)


def _install(directory: Path) -> None:
    """The project's dependencies, for that architecture and its Python."""
    python = LOCK.read_text().split("for Python ")[1].split()[0]
    tags = (f"manylinux2014_{MACHINE}", *(f"manylinux_2_{minor}_{MACHINE}" for minor in range(GLIBC, 4, -1)))
    platforms = [word for tag in tags for word in ("--platform", tag)]
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-compile", "--no-deps")
    only = ("--only-binary", ":all:", "--require-hashes", "--python-version", python, "--implementation", "cp")
    run(*pip, *only, *platforms, "--target", directory, "--requirement", LOCK, failure=Broken)


def _compile(root: Path) -> None:
    """Byte code, which is the same on all architectures, by the same Python for this machine."""
    python = debian.fetch("python3", SUITE) / "usr/bin/python3"
    mode = ("--invalidation-mode", "unchecked-hash", "-q", "-j", "0")
    run(python, "-m", "compileall", *mode, "-s", root, *root.glob("usr/lib/python3*"), failure=Broken)
