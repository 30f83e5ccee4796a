"""The cache of Debian packages survives an interrupted run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.prerequisites import require
from lab.real import debian
from lab.real.debian import Broken, Recipe

SUITE = "here"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with the package `app`, which needs `lib`; apt reads it and copies its archives."""
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        require(shutil.which(program), f"command {program}")
    made = tmp_path / "mirror"
    made.mkdir()
    index = "".join(packed(name, needs, tmp_path / name, made) for name, needs in (("app", "lib"), ("lib", "")))
    (made / "Packages").write_text(index)
    source = tmp_path / "sources.list"
    source.write_text(f"deb [trusted=yes] copy:{made} ./\n")

    def private_apt(suite: str, directory: Path, architecture: str) -> tuple[str, ...]:
        for folder in ("lists/partial", "archives/partial"):
            (directory / folder).mkdir(parents=True, exist_ok=True)
        (directory / "status").touch()
        settings = {
            "Dir::Etc::SourceList": source,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": directory / "lists",
            "Dir::State::Status": directory / "status",
            "Dir::Cache": directory,
            "Dir::Cache::Archives": directory / "archives",
            "APT::Sandbox::User": "",
        }
        options = tuple(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))
        debian.run("apt-get", *options, "update", "--error-on=any")
        return options

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(debian, "_private_apt", private_apt)
    return made


def packed(name: str, needs: str, root: Path, target: Path) -> str:
    """Make an archive that holds `/name`; return its entry in the index of packages."""
    (root / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1.2\nArchitecture: all\nMaintainer: test\nDescription: test\n"
    control += f"Depends: {needs}\n" if needs else ""
    (root / "DEBIAN/control").write_text(control)
    (root / name).write_text(name)
    archive = target / f"{name}_1.2_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", root, archive], check=True, capture_output=True)
    content = archive.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return f"{control}Filename: ./{archive.name}\nSize: {len(content)}\nSHA256: {digest}\n\n"


def accepted(root: Path, target: Path) -> None:
    """For Recipe.finish: nothing is left to do."""


def interrupted(root: Path, target: Path) -> None:
    """For Recipe.finish: a program that is missing, or Ctrl-C."""
    raise Broken("interrupted")


@pytest.mark.slow
@pytest.mark.parametrize("only", ["", "app|lib"])
def test_an_interrupted_run_leaves_a_cache_that_works(mirror: Path, only: str) -> None:
    """The archives that it downloaded, whole or in part, keep no later run from unpacking all of them."""
    with pytest.raises(Broken, match="interrupted"):
        debian.fetch("app", SUITE, Recipe(only, interrupted))
    archives = debian.cache("packages") / SUITE / "archives"
    left = sorted(archives.glob("*.deb"))
    assert [path.name.partition("_")[0] for path in left] == ["app", "lib"]
    left[0].write_bytes(b"half")
    fetched = debian.fetch("app", SUITE, Recipe(only, accepted))
    assert [(fetched / name).read_text() for name in ("app", "lib")] == ["app", "lib"]
    assert debian.recorded(SUITE) == {"app": "1.2"}
    assert list(archives.glob("*.deb")) == []


@pytest.mark.slow
def test_a_download_that_stopped_leaves_a_cache_that_works(mirror: Path) -> None:
    """Of two archives the second was never there."""
    lib = mirror / "lib_1.2_all.deb"
    content = lib.read_bytes()
    lib.unlink()
    with pytest.raises(debian.Unavailable):
        debian.fetch("app", SUITE, Recipe(finish=accepted))
    lib.write_bytes(content)
    fetched = debian.fetch("app", SUITE, Recipe(finish=accepted))
    assert [(fetched / name).read_text() for name in ("app", "lib")] == ["app", "lib"]
