"""The README says what the code does."""

from __future__ import annotations

import re

import pytest

from lab.readme import PARTS, README, part
from probe.checks.check import LEVELS, UnknownReason
from probe.cli import verbs as cli
from probe.outputs.annotations import KEYS

TEXT = README.read_text()


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below that heading, without its head."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\\\)\|", line)[1:-1]] for line in lines[2:]]


@pytest.mark.parametrize("name", PARTS)
def test_what_the_code_decides(name: str) -> None:
    """The report of a recorded node, the checks and the options; scripts/update-readme writes them."""
    assert part(TEXT, name) == PARTS[name]()


def test_every_option_is_explained() -> None:
    """An empty cell helps nobody."""
    assert all(row[3] for row in table("Options"))


def test_exit_codes() -> None:
    """Each exit code has its row."""
    codes = {*cli.EXIT_CODES.values(), cli.USAGE, 69, cli.UNFORESEEN, 130, 143}
    assert {int(row[0]) for row in table("Exit codes")} == codes
    assert [row[1].split(";")[0] for row in table("Exit codes")][:3] == ["ready", "not ready", "unknown"]


def test_levels_and_reasons() -> None:
    """Each level has its row, and each reason of an unknown is named."""
    assert [row[0].strip("`") for row in table("Verdict and levels")] == list(LEVELS)
    listed = re.search(r"Unknown reasons: (.*?)\.\s", TEXT, re.DOTALL)
    assert listed
    assert re.findall(r"`(\w+)`", listed[1]) == list(UnknownReason.__args__)


def test_annotations() -> None:
    """Each annotation is named."""
    named = re.search(r"\nAnnotations: (.*?), each with the prefix", TEXT, re.DOTALL)
    assert named
    assert re.findall(r"`([a-z-]+)`", named[1]) == [*KEYS, "refreshed-at"]
