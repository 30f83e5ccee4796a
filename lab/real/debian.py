"""One package of one Debian suite, with what it needs, unpacked into a cache and never installed.

The machine's own mirror is asked through a private apt configuration, authenticated by Debian's archive keyring; the
machine's package sources, lists and database stay as they are. No version is pinned: what was fetched is recorded in
`versions.json` beside it. When the mirror cannot be reached, what the cache holds is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from lab.command import Unavailable as Unavailable

P = ParamSpec("P")
T = TypeVar("T")

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FRESH_FOR = 24 * 3600  # seconds in which the mirror is not asked again


class Broken(Exception):
    """Something was had, and does not work; the text says how it failed."""


@dataclass(frozen=True)
class Recipe:
    """Which archives are fetched for a package, and what is done to them once they are unpacked."""

    only: str = ""
    """Regular expression: the package and those it depends on in the same suite, as far as their names match it.

    Empty for the package with all its libraries.
    """
    finish: Callable[[Path, Path], None] | None = None
    """Called with the directory that they are unpacked in, and with where it will lie.

    Else programs are made to run there with these libraries.
    """
    architecture: str = ""
    """Debian's name of it, empty for this machine's."""


def fetch(package: str, suite: str, recipe: Recipe = Recipe()) -> Path:
    """The directory where *package* of *suite* and what it needs lie as below `/`, as new as can be had."""
    with locked(_directory(suite, recipe.architecture)) as directory:
        return directory / _installed(package, suite, directory, recipe)


def recorded(suite: str, architecture: str = "") -> dict[str, str]:
    """Package -> its Debian version, as the cache holds them; asks no mirror."""
    return {package: entry["version"] for package, entry in _read_record(_directory(suite, architecture)).items()}


def run(
    *command: str | Path,
    environment: dict[str, str] | None = None,
    directory: Path | None = None,
    failure: type[Exception] = Unavailable,
) -> str:
    """What *command* prints; *failure* with its own words when it fails, and Unavailable where there is none."""
    if environment is None:
        environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=directory)
    except FileNotFoundError:
        raise Unavailable(f"command {command[0]} is not there") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise failure(next((line for line in lines if line.startswith("E: ")), lines[-1]))
    return done.stdout


def first(paths: Iterable[Path], what: str) -> Path:
    """The first of *paths*; Broken where a package that was fetched has none."""
    found = next(iter(paths), None)
    if found is None:
        raise Broken(f"{what} is in none of the packages")
    return found


def cache(name: str) -> Path:
    """A directory outside of the checkout, for what is expensive to get."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base, "userns-probe", name)


@contextmanager
def locked(directory: Path) -> Iterator[Path]:
    """*directory*, made where it is missing, for one process at a time."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory


def once(function: Callable[P, T]) -> Callable[P, T]:
    """Like functools.cache, but a failure is remembered too: finding out took the mirror's timeout."""
    outcomes: dict[tuple[object, ...], T | Unavailable] = {}

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        if args not in outcomes:
            try:
                outcomes[args] = function(*args, **kwargs)
            except Unavailable as problem:
                outcomes[args] = problem
        outcome = outcomes[args]
        if isinstance(outcome, Unavailable):
            raise outcome
        return outcome

    return wrapper


def mirror(directory: Path, label: str = "Debian") -> str:
    """Where this machine gets Debian from; apt itself reads its many forms of source lists.

    *directory* is for package lists, should the machine have none; *label* is `Debian-Security` for security updates.
    """
    wanted = ("--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", f"Label: {label}", "Component: main")
    mirrors = run("apt-get", "indextargets", *wanted).split()
    if not mirrors:  # apt knows an origin only after an update, which a fresh machine may never have had
        (directory / "machine/partial").mkdir(parents=True, exist_ok=True)
        options = ("-o", f"Dir::State::Lists={directory}/machine", "-o", "APT::Sandbox::User=")
        run("apt-get", *options, "update")
        mirrors = run("apt-get", *options, "indextargets", *wanted).split()
    if not mirrors:
        raise Unavailable(f"no mirror of {label} among this machine's package sources")
    return mirrors[0]


def _directory(suite: str, architecture: str) -> Path:
    return cache("packages") / (f"{suite}-{architecture}" if architecture else suite)


def _read_record(directory: Path) -> dict[str, dict[str, str]]:
    try:
        return dict(json.loads((directory / "versions.json").read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _installed(package: str, suite: str, directory: Path, recipe: Recipe) -> str:
    """The name of the directory in *directory* that holds *package* and its libraries, as new as can be had."""
    record = _read_record(directory)
    old = record.get(package)
    if old and not (directory / old["directory"]).is_dir():
        old = None
    if old and time.time() - float(old["asked"]) < FRESH_FOR:
        return old["directory"]
    try:
        new = _fetch(package, suite, directory, recipe)
    except Unavailable:
        if old:
            return old["directory"]
        raise
    (directory / "versions.json.new").write_text(json.dumps(record | {package: new}, indent=2) + "\n")
    os.replace(directory / "versions.json.new", directory / "versions.json")
    if old and old["directory"] != new["directory"]:
        shutil.rmtree(directory / old["directory"])
    return new["directory"]


def _fetch(package: str, suite: str, directory: Path, recipe: Recipe) -> dict[str, str]:
    options = _private_apt(suite, directory, recipe.architecture)
    run("apt-get", *options, "clean")  # --print-uris names no archive that an interrupted run has left there
    if recipe.only:
        get = ("apt-get", *options, "download", *_dependencies(package, options, recipe.only))
    else:  # against an empty package database everything counts as missing, so this names all the libraries, too
        get = ("apt-get", *options, "install", "-y", "--no-install-recommends", "--download-only", package)
    archives = [line.split()[1] for line in run(*get, "--print-uris").splitlines() if line.startswith("'")]
    version = next(name.split("_")[1] for name in archives if name.startswith(f"{package}_"))
    name = f"{package}-{hashlib.sha256(' '.join(sorted(archives)).encode()).hexdigest()[:12]}"
    if not (directory / name).is_dir():
        run(*get, directory=directory / "archives")  # `download` puts them where it is called
        _unpack([directory / "archives" / archive for archive in archives], directory / name, recipe)
        run("apt-get", *options, "clean")
    return {"version": version, "directory": name, "archives": " ".join(archives), "asked": str(int(time.time()))}


def _dependencies(package: str, options: tuple[str, ...], only: str) -> list[str]:
    """*package* and what it depends on in the suite, directly or not, as far as their names match *only*."""
    unwanted = ("recommends", "suggests", "enhances", "conflicts", "breaks", "replaces")
    recurse = ("--recurse", *(f"--no-{relation}" for relation in unwanted))
    said = run("apt-cache", *options, "depends", *recurse, package)
    return [line for line in said.splitlines() if re.fullmatch(only, line)]


@once
def _private_apt(suite: str, directory: Path, architecture: str) -> tuple[str, ...]:
    """Options that make apt see *suite* alone, its lists just brought up to date."""
    for folder in ("lists/partial", "archives/partial"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    (directory / "status").touch()
    source = mirror(directory, "Debian-Security" if suite.endswith("-security") else "Debian")
    (directory / "sources.list").write_text(f"deb [signed-by={KEYRING}] {source} {suite} main\n")
    settings = {
        "Dir::Etc::SourceList": directory / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": directory / "lists",
        "Dir::State::Status": directory / "status",
        "Dir::Cache": directory,
        "Dir::Cache::Archives": directory / "archives",
        "Dir::Cache::PkgCache": "pkgcache.bin",  # switched off in container images; halves the time of each call
        "APT::Sandbox::User": "",  # apt's own user may not enter root's home, where the cache usually lies
        "Acquire::Check-Valid-Until": "false",  # a mirror that stands still is as good to test with
        "Acquire::Retries": 1,
        "Acquire::http::Timeout": 10,
        "Acquire::https::Timeout": 10,
    }
    if architecture:
        settings |= {"APT::Architecture": architecture, "APT::Architectures::": architecture}
    options = tuple(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))
    run("apt-get", *options, "update", "--error-on=any")  # else a suite that cannot be had is only a warning
    return options


def _unpack(archives: Sequence[Path], target: Path, recipe: Recipe) -> None:
    """Unpack *archives* at *target*, whole or not at all. *Errors*: Broken."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        root = Path(scratch, "root")
        for archive in archives:
            run("dpkg-deb", "-x", archive, root, failure=Broken)
        (recipe.finish or _use_own_libraries)(root, target)
        root.chmod(0o755)
        root.rename(target)


def _use_own_libraries(root: Path, target: Path) -> None:
    """Make the programs in *root* run at *target* with the libraries beside them.

    The loader and the library path go into the programs themselves: runc starts itself anew as /proc/self/exe with an
    empty environment, which neither `ld.so PROGRAM` nor LD_LIBRARY_PATH would survive. RPATH and not RUNPATH, because
    it holds for the libraries' libraries too.
    """
    loader = target / loader_of(root).relative_to(root)
    for program in (*root.glob("usr/bin/*"), *root.glob("usr/sbin/*")):
        if not program.is_symlink() and b"ld-linux" in program.read_bytes()[:4096]:
            _use_loader(program, loader)


def _use_loader(program: Path, loader: Path) -> None:
    change = ("--set-interpreter", loader, "--force-rpath", "--set-rpath", loader.parent)
    run("patchelf", *change, program, failure=Broken)


def copy_program(root: Path, name: str, directory: str) -> str:
    """A copy in *directory* of the program *name* of a root directory (see as_root) that runs outside of that root."""
    program = Path(shutil.copy(root / name, directory))
    _use_loader(program, loader_of(root))
    return str(program)


def loader_of(root: Path) -> Path:
    """The dynamic loader among the packages in *root*. *Errors*: Broken."""
    return first((path for path in root.glob("**/ld-linux*.so.*") if not path.is_symlink()), "ld-linux.so")


def as_root(root: Path, _: Path) -> None:
    """For Recipe.finish: make *root* a root directory, of a guest or of a chroot, for whatever lies in it."""
    for name in ("bin", "sbin", "lib", "lib64"):  # links that no package but the base system's has
        if (root / "usr" / name).is_dir() and not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("dev", "etc", "proc", "run", "srv", "sys", "tmp"):
        (root / name).mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
