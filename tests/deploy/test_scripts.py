"""scripts/image and scripts/update-lock: what can be said without building anything."""

from __future__ import annotations

import os
import subprocess

import pytest

from lab.deploy.manifests import CHECKOUT
from probe import __version__


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHECKOUT / "scripts" / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


@pytest.mark.parametrize("script", ["image", "update-lock"])
def test_help(script: str) -> None:
    """It says how it is called."""
    done = run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "scripts/" in done.stdout


def test_help_names_what_is_built() -> None:
    """The defaults come from where they are decided."""
    shown = run("image", "--help").stdout
    assert f"userns-probe:{__version__}" in shown
    assert "debian:trixie-slim" in shown
    assert "Python 3.13" in shown


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--nope",), "--nope"),
        (("image",), "image"),
        (("--tag",), "--tag"),
        (("--base", ""), "--base"),
        (("--builder", "make"), "make"),
        (("--platform", "linux/s390x"), "linux/s390x"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], named: str) -> None:
    """One line that names the mistake, and 64."""
    done = run("image", *arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert len(done.stderr.splitlines()) == 1
    assert named in done.stderr


def test_without_a_builder(tmp_path: os.PathLike[str]) -> None:
    """One line that says what to install, and 69."""
    for program in ("bash", "sed", "readlink", "dirname", "uname", "rm"):
        os.symlink(f"/bin/{program}", os.path.join(tmp_path, program))
    done = run("image", PATH=str(tmp_path))
    assert done.returncode == 69, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "apt-get install buildah" in done.stderr
