"""scripts/venv.sh: the environment of scripts/probe and scripts/test, of a project without dependencies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.command import ROOT

UNREACHABLE = "http://127.0.0.1:9/simple"
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").iterdir() if path.suffix != ".sh")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a finished environment; its command prints where it runs from."""
    checkout = tmp_path_factory.mktemp("environment") / "a checkout"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    (checkout / "probe").mkdir()
    (checkout / "probe" / "__init__.py").touch()
    (checkout / "probe" / "__main__.py").write_text("import sys; print('probe', *sys.argv[1:])")
    depend(checkout)
    done = run(checkout, "explain")
    assert done.stdout == "probe explain\n", done.stderr
    return checkout


@pytest.fixture
def checkout(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    copy = tmp_path / "a checkout"
    shutil.copytree(made, copy, symlinks=True, ignore=shutil.ignore_patterns(".venv*"))
    return copy


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


def test_it_is_made_once(made: Path) -> None:
    """The second run says nothing and makes nothing."""
    before = (made / ".venv").stat().st_ino
    done = run(made, "explain")
    assert (done.returncode, done.stdout, done.stderr) == (0, "probe explain\n", "")
    assert (made / ".venv").stat().st_ino == before
    assert not [path.name for path in made.iterdir() if path.name.startswith(".venv.")]


def test_a_failed_install_leaves_the_working_one_alone(made: Path, tmp_path: Path) -> None:
    """One line that says what can be done about the package index, 69, nothing in TMPDIR; and the probe still runs."""
    depend(made, test="'no-such-package-of-ours'")
    try:
        done = run(made, script="test", TMPDIR=str(tmp_path))
        assert done.returncode == 69
        last = done.stderr.splitlines()[-1]
        assert all(name in last for name in ("PIP_INDEX_URL", "PIP_CERT", "https_proxy"))
        assert not list(tmp_path.iterdir())
        assert (made / ".venv" / "stamp").exists()
    finally:
        depend(made)
    assert run(made, "explain").stdout == "probe explain\n"


def test_nothing_of_the_current_directory_runs(made: Path, checkout: Path, tmp_path: Path) -> None:
    """Packages named as ours and Python's lie around, and none of them is ever imported."""
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')"
    for name in ("probe", "venv", "pip", "ensurepip", "sysconfig", "tomllib", "encodings"):
        package = tmp_path / "strange" / name
        package.mkdir(parents=True)
        for module in ("__init__", "__main__"):
            (package / f"{module}.py").write_text(trap)
    for place in (checkout, made):
        done = run(place, "explain", cwd=tmp_path / "strange", PYTHONPATH=str(tmp_path / "strange"))
        assert done.stdout == "probe explain\n", done.stderr
    assert not (tmp_path / "sprung").exists()


def test_another_place(checkout: Path, tmp_path: Path) -> None:
    """USERNS_PROBE_VENV puts it there, and nothing into the checkout."""
    place = tmp_path / "elsewhere" / "venv"
    assert run(checkout, "explain", USERNS_PROBE_VENV=str(place)).stdout == "probe explain\n"
    assert (place / "stamp").exists()
    assert not (checkout / ".venv").exists()


def test_a_newer_python_is_found_by_its_name(checkout: Path, tmp_path: Path) -> None:
    """python3 is too old, as on RHEL 9, and a newer one lies beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in (("python3", "exit 1"), ("python3.12", f'exec "{sys.executable}" "$@"')):
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    done = run(checkout, "explain", PYTHON="", PATH=f"{programs}:/usr/bin:/bin")
    assert done.stdout == "probe explain\n", done.stderr


def test_a_python_that_is_too_old(checkout: Path, tmp_path: Path) -> None:
    """One line that names what is needed, and 69: neither 1 nor a traceback."""
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ncase "$*" in *-V*) echo Python 3.9.18 ;; *) exit 1 ;; esac\n')
    old.chmod(0o755)
    done = run(checkout, "explain", PYTHON=str(old))
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1
    assert "3.11" in done.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
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
