"""scripts/sabotage, as a person calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.sabotage.breaks import BREAKS

SCRIPT = Path(__file__).parents[2] / "scripts" / "sabotage"


def call(*arguments: str, isolated: bool = False) -> subprocess.CompletedProcess[str]:
    """One run; *isolated* is one that sees no installed package."""
    command = [sys.executable, *(["-I", "-S"] if isolated else []), str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [("--help",), ("--list",)])
def test_help_and_list_need_no_package(arguments: tuple[str, ...]) -> None:
    """A user reads them before anything is installed."""
    done = call(*arguments, isolated=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_list_names_every_break() -> None:
    assert [line.split()[0] for line in call("--list").stdout.splitlines()] == [each.name for each in BREAKS]


@pytest.mark.parametrize(("arguments", "words"), [(("--only", "nobody"), "nobody"), (("--nonsense",), "--nonsense")])
def test_wrong_usage_is_64_and_names_the_word(arguments: tuple[str, ...], words: str) -> None:
    done = call(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert words in done.stderr
