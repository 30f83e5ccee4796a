"""scripts/venv.sh: the environment of scripts/probe and scripts/test, of a project without dependencies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.command import ROOT

UNREACHABLE = "http://127.0.0.1:9/simple"
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").iterdir() if path.suffix != ".sh")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose command prints where it runs from; without an environment."""
    checkout = tmp_path_factory.mktemp("sources") / "a checkout"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    (checkout / "probe").mkdir()
    (checkout / "probe" / "__init__.py").touch()
    (checkout / "probe" / "__main__.py").write_text("import sys; print('probe', *sys.argv[1:])")
    depend(checkout)
    return checkout


def depend(checkout: Path, probe: str = "", test: str = "") -> None:
    """What the project of *checkout* depends on."""
    (checkout / "pyproject.toml").write_text(
        f"[project]\nname = 'x'\nversion = '0'\ndependencies = [{probe}]\n"
        f"[project.optional-dependencies]\ntest = [{test}]\n"
    )


def run(
    checkout: Path, *arguments: str, script: str = "probe", cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A script of the checkout, without a package index, with the Python that runs the tests."""
    variables = {"PYTHON": getattr(sys, "_base_executable", sys.executable), "PIP_INDEX_URL": UNREACHABLE}
    return subprocess.run(
        [checkout / "scripts" / script, *arguments],
        cwd=cwd or checkout,
        env=os.environ | variables | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Made:
    """A finished environment, and where its first run was."""

    checkout: Path
    place: Path
    directory: Path
    variables: dict[str, str]

    def again(self, *arguments: str, script: str = "probe", **environment: str) -> subprocess.CompletedProcess[str]:
        """Another run like the first one."""
        return run(self.checkout, *arguments, script=script, cwd=self.directory, **self.variables | environment)


@pytest.fixture(scope="module")
def made(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A first run with all at once that must not disturb it, as each environment takes seconds to make.

    Packages named as ours and Python's lie in the current directory; python3 is too old, as on RHEL 9, and a newer one
    lies beside it; USERNS_PROBE_VENV names another place. The usual place is where the environment of CI lies.
    """
    directory = tmp_path_factory.mktemp("strange")
    checkout, place, programs = directory / "a checkout", directory / "elsewhere" / "venv", directory / "bin"
    shutil.copytree(sources, checkout)
    for name in ("probe", "venv", "pip", "ensurepip", "sysconfig", "tomllib", "encodings"):
        package = directory / name
        package.mkdir()
        for module in ("__init__", "__main__"):
            (package / f"{module}.py").write_text(f"open({str(directory / 'sprung')!r}, 'w')")
    programs.mkdir()
    for name, body in (("python3", "exit 1"), ("python3.12", f'exec "{sys.executable}" "$@"')):
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    variables = {"PYTHON": "", "PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(directory)}
    variables |= {"USERNS_PROBE_VENV": str(place)}
    done = run(checkout, "explain", cwd=directory, **variables)
    assert done.stdout == "probe explain\n", done.stderr
    return Made(checkout, place, directory, variables)


@pytest.mark.slow
def test_it_is_made_once(made: Made) -> None:
    """The second run says nothing and makes nothing."""
    before = made.place.stat().st_ino
    done = made.again("explain")
    assert (done.returncode, done.stdout, done.stderr) == (0, "probe explain\n", "")
    assert made.place.stat().st_ino == before
    assert [path.name for path in made.place.parent.iterdir()] == ["venv"]


@pytest.mark.slow
def test_a_failed_install_leaves_the_working_one_alone(made: Made, tmp_path: Path) -> None:
    """One line that says what can be done about the package index, 69, nothing in TMPDIR; and the probe still runs."""
    depend(made.checkout, test="'no-such-package-of-ours'")
    try:
        done = made.again(script="test", TMPDIR=str(tmp_path))
        assert done.returncode == 69
        last = done.stderr.splitlines()[-1]
        assert all(name in last for name in ("PIP_INDEX_URL", "PIP_CERT", "https_proxy"))
        assert not list(tmp_path.iterdir())
        assert (made.place / "stamp").exists()
    finally:
        depend(made.checkout)
    assert made.again("explain").stdout == "probe explain\n"


@pytest.mark.slow
def test_nothing_of_the_current_directory_runs(made: Made) -> None:
    """Neither while an environment is made nor with a finished one."""
    assert made.again("explain").stdout == "probe explain\n"
    assert not (made.directory / "sprung").exists()


@pytest.mark.slow
def test_another_place(made: Made) -> None:
    """USERNS_PROBE_VENV puts it there, and nothing into the checkout."""
    assert (made.place / "stamp").exists()
    assert not (made.checkout / ".venv").exists()


@pytest.mark.slow
def test_a_newer_python_is_found_by_its_name(made: Made) -> None:
    """The one that python3.12 starts made it."""
    assert os.path.samefile(made.place / "bin" / "python", sys.executable)


def test_a_python_that_is_too_old(sources: Path, tmp_path: Path) -> None:
    """One line that names what is needed, and 69: neither 1 nor a traceback."""
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ncase "$*" in *-V*) echo Python 3.9.18 ;; *) exit 1 ;; esac\n')
    old.chmod(0o755)
    done = run(sources, "explain", PYTHON=str(old))
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1
    assert "3.11" in done.stderr


@pytest.mark.parametrize("option", [pytest.param("-h", marks=pytest.mark.slow), "--help"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_no_environment(script: str, option: str, tmp_path: Path) -> None:
    """Each script says what it is for, with a Python that has none of the project's packages."""
    command = [str(ROOT / "scripts" / script), option]
    if "python" in Path(command[0]).read_text().partition("\n")[0]:
        command = [sys.executable, "-S", *command]
    place = tmp_path / "venv"
    environment = os.environ | {"USERNS_PROBE_VENV": str(place)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"scripts/{script}" in done.stdout
    assert not place.exists()
