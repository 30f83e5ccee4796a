"""Real programs as Debian builds them: container runtimes, the machine's own and those of newer suites (see debian.py).

Beside them is what userns-probe is measured against.

Run as a program it fetches them all, so that no test has to wait, and says what cannot be had.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.real import debian
from lab.real.debian import Unavailable

SUITES = ("trixie", "sid")  # the older first: it is nearer to what nodes run
PACKAGES = ("runc", "crun", "containerd", "prometheus-node-exporter")


# What podman, buildah, conmon, crun and newuidmap run with, without gnupg, iptables and CNI plugins.
ENGINE_LIBRARIES = (
    "podman|conmon|crun|netavark|zlib1g|lib(acl1|assuan.*|atomic1|attr1|audit1|blkid1|bsd0|bz2-1.0|c6|cap-ng0|cap2|crypt1|ffi8|gcc-s1|gcrypt20"
    "|glib2.0-0.*|gpg-error0|gpgme11.*|lz4-1|lzma5|md0|mount1|pam0g|pcre2-8-0|seccomp2|selinux1|semanage2|sepol2|sqlite3-0"
    "|subid.*|systemd0|yajl2|zstd1)"
)


@dataclass(frozen=True)
class Runtime:
    """A program that runs by its path alone, with an empty environment too."""

    name: str
    path: str
    version: tuple[int, ...]
    suite: str  # "machine" for what is installed

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))} ({self.suite})"

    def beside(self, name: str) -> str:
        """The path of another program of the same package."""
        return str(Path(self.path).parent / name)


def runtime(name: str, at_least: Sequence[int] = (), suites: Sequence[str] = SUITES) -> Runtime:
    """The program *name* from the first of *suites* that has it in version *at_least* or newer."""
    problems = []
    for suite in suites:
        try:
            found = from_suite(name, suite)
        except Unavailable as problem:
            problems.append(f"{suite}: {problem}")
            continue
        if found.version >= tuple(at_least):
            return found
        problems.append(f"{suite}: has {found}")
    raise Unavailable(f"no {name} {'.'.join(map(str, at_least))} or newer; " + "; ".join(problems))


def containerd(at_least: Sequence[int] = (2,), suites: Sequence[str] = SUITES) -> Runtime:
    """containerd itself; `beside("containerd-shim-runc-v2")` is its shim, which it looks for along PATH."""
    return runtime("containerd", at_least, suites)


def machine_runtime(name: str) -> Runtime:
    """The program that is installed on this machine: on Debian 12 runc 1.1 and crun 1.8, older than idmapped mounts."""
    path = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if not path:
        raise Unavailable(f"{name} is not installed")
    return Runtime(name, path, _version(path), "machine")


def recorded() -> str:
    """What the cache holds, in one line for people; asks no mirror."""
    suites = {suite: debian.recorded(suite) for suite in SUITES}
    return ", ".join(f"{name} {version} ({suite})" for suite in SUITES for name, version in suites[suite].items())


@debian.once
def engines(suite: str = "trixie") -> tuple[Path, Path]:
    """Directories with podman and all that it needs, and with buildah alone, which needs no more."""
    libraries = debian.Recipe(only=ENGINE_LIBRARIES, finish=debian.as_root)
    podman = debian.fetch("podman", suite, libraries)
    return podman, debian.fetch("buildah", suite, debian.Recipe(only="buildah", finish=debian.as_root))


@debian.once
def systemd(suite: str = "trixie") -> Path:
    """Directory with systemd and all that it needs."""
    return debian.fetch("systemd", suite, debian.Recipe(finish=debian.as_root))


@debian.once
def from_suite(name: str, suite: str) -> Runtime:
    """The program *name* of the package *name* in Debian's *suite*."""
    root = debian.fetch(name, suite)
    for path in (root / "usr/sbin" / name, root / "usr/bin" / name):
        if path.exists() and not path.is_symlink():
            return Runtime(name, str(path), _version(str(path)), suite)
    raise Unavailable(f"package {name} has no program {name}")


def _version(path: str) -> tuple[int, ...]:
    said = debian.run(path, "--version", environment={})
    numbers = re.search(r"(?<![\w.])\d+(\.\d+)+", said)
    if not numbers:
        raise Unavailable(f"{path} --version says {said!r}")
    return tuple(map(int, numbers[0].split(".")))


if __name__ == "__main__":
    try:
        engines(), systemd()
    except Unavailable as _problem:
        sys.stderr.write(f"podman and buildah: {_problem}\n")
    for _suite in SUITES:
        for _name in PACKAGES:
            try:
                from_suite(_name, _suite)
            except Unavailable as _problem:
                sys.stderr.write(f"{_name} of {_suite}: {_problem}\n")
