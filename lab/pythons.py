"""The tests that need no real kernel, on the Python of another Debian suite: trixie's is the image's, sid's the newest.

    python -m lab.pythons trixie fast -m 'not real' [other arguments of pytest]

The second argument is their extent, as tests/extent.py has it; `again` also leaves out WORKPLACE.

The suite lies in a cache as debootstrap makes it, with the wheels that this machine's pip fetched for its Python; the
tests run there by chroot(2), in a mount namespace of their own that shows the checkout. Needs root.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from lab.command import ROOT, Unavailable
from lab.real import debian

PACKAGES = "python3,python3-venv,procps,git,netbase,kmod"
FRESH_FOR = 7 * 24 * 3600  # seconds in which the same suite is used
_MADE_OF = "etc/userns-probe-packages"
ENVIRONMENT = "/opt/tests"
BYTE_CODE = "/var/cache/byte-code"
"""Kept with the suite: hundreds of processes would compile the same modules, each for itself."""
LEFT_OUT = (
    *("bench", "deploy", "faults", "kernels", "real", "sabotage"),
    *("test_evidence.py", "test_lanes.py", "test_layers.py", "test_linters.py", "test_man.py", "test_readme.py"),
)
"""Tests, below tests/, of the workshop, campaigns, manifests and texts: nothing of that runs in the image."""
WORKPLACE = ("bundle", "fleet", "publish/test_publish_fleet.py", "test_completion.py")
"""Tests of what runs where a person works, on any Python, and a simulation of many nodes."""
_INSIDE = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=1777 tests "$2/tmp"
mkdir -p "$2$1"
mount --bind "$1" "$2$1"
mount -t proc proc "$2/proc"
mount --rbind /dev "$2/dev"
mount --rbind /sys "$2/sys"
root=$2 checkout=$1
shift 2
exec chroot "$root" env --unset=CI --chdir="$checkout" "$@" # what this suite lacks is skipped, by name
"""


def test(suite: str, extent: str, arguments: list[str]) -> int:
    """The exit code of pytest on the Python of *suite*. *Errors*: Unavailable."""
    cache = debian.cache("pythons")
    with debian.locked(cache):
        root = _root(cache, suite)
        _install(cache, root)
    python = f"{ENVIRONMENT}/bin/python"
    variables = (
        f"USERNS_PROBE_TESTS={extent}",
        "HOME=/root",
        "LANG=C.UTF-8",
        f"PYTHONPYCACHEPREFIX={BYTE_CODE}",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    )
    left_out = [f"--ignore=tests/{name}" for name in (*LEFT_OUT, *(WORKPLACE if extent == "again" else ()))]
    command = (python, "-m", "pytest", "-p", "no:cacheprovider", *left_out, *arguments)
    inside = ("unshare", "--mount", "sh", "-c", _INSIDE, "sh", ROOT, root, *variables, *command)
    return subprocess.run(inside, stdin=subprocess.DEVNULL, check=False).returncode


def _root(cache: Path, suite: str) -> Path:
    """The directory with the suite, made anew when it is old, or without one of PACKAGES, and a mirror answers."""
    root = cache / suite
    made_of = root / _MADE_OF
    if made_of.exists() and made_of.read_text() == PACKAGES and time.time() - root.stat().st_mtime < FRESH_FOR:
        return root
    new = cache / f"{suite}.new"
    shutil.rmtree(new, ignore_errors=True)
    options = ("--variant=minbase", f"--include={PACKAGES}", f"--keyring={debian.KEYRING}")
    try:
        debian.run("debootstrap", *options, suite, new, debian.mirror(cache))
    except Unavailable:
        if not root.exists():
            raise
        return root
    (new / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (new / _MADE_OF).write_text(PACKAGES)
    shutil.rmtree(root, ignore_errors=True)
    new.rename(root)
    root.touch()
    return root


def _install(cache: Path, root: Path) -> None:
    """The project's dependencies for tests, as wheels for the Python of *root*."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    stamp = root / ENVIRONMENT.lstrip("/") / "stamp"
    if stamp.exists() and stamp.read_text() == digest:
        return
    version = debian.run("chroot", root, "python3", "-V").split()[1]
    short = re.match(r"\d+\.\d+", version)
    assert short
    wheels = root / "var/cache/wheels"
    shutil.rmtree(root / ENVIRONMENT.lstrip("/"), ignore_errors=True)
    wheels.mkdir(parents=True, exist_ok=True)
    platforms = (f"--platform=manylinux_2_{minor}_{os.uname().machine}" for minor in range(41, 4, -1))
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    for_it = (f"--python-version={short[0]}", "--implementation=cp", "--only-binary=:all:", *platforms)
    debian.run(*pip, "download", *for_it, f"--platform=manylinux2014_{os.uname().machine}", "--dest", wheels, *wanted)
    debian.run("chroot", root, "python3", "-m", "venv", ENVIRONMENT)
    install = (f"{ENVIRONMENT}/bin/pip", "--quiet", "install", "--no-index", "--find-links=/var/cache/wheels")
    debian.run("chroot", root, *install, *wanted)
    stamp.write_text(digest)


def main() -> int:
    try:
        return test(sys.argv[1], sys.argv[2], sys.argv[3:])
    except Unavailable as problem:
        sys.stderr.write(f"Python of {sys.argv[1]}: {problem}\n")
        return 69


if __name__ == "__main__":
    sys.exit(main())
