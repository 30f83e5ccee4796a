"""The manual pages say what --help says, and man(1) can show them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from lab.man import FOLDER, pages
from lab.prerequisites import require
from probe.cli.verbs import cli

PAGES = dict(pages())


def test_every_verb_has_its_page() -> None:
    """And there is no page of a verb that is gone."""
    assert set(PAGES) == {"userns-probe.1", *(f"userns-probe-{verb}.1" for verb in cli.commands)}
    assert {file.name for file in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_it_is_written_by_the_code(name: str) -> None:
    """scripts/update-readme writes them."""
    assert (FOLDER / name).read_text() == PAGES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_groff_has_no_warning(name: str) -> None:
    """A line of help that begins like a request would vanish from the page."""
    require(shutil.which("groff") is not None, "groff (package groff-base)")
    command = ["groff", "-man", "-Tutf8", "-ww", FOLDER / name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "EXAMPLES" in done.stdout.upper()
