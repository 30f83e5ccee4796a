"""The README says what the code does: its tables are compared with it, cell by cell."""

from __future__ import annotations

import re
from pathlib import Path

import click

from probe import cli
from probe.checks.catalog import CHECKS
from probe.checks.check import LEVELS, UnknownReason

README = (Path(__file__).parents[1] / "README.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below that heading, without its head."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_checks() -> None:
    """Each check has its row, in stack order."""
    assert table("Checks") == [
        [
            f"`{check.id}`",
            check.level,
            "yes" if check.gating else "",
            check.question,
            ", ".join(f"`{reason}`" for reason in check.reasons),
        ]
        for check in CHECKS
    ]


def test_options() -> None:
    """Each option of each verb has its row."""
    expected = [
        [verb, f"`{max(option.opts, key=len)}`", f"`{option.envvar}`" if option.envvar else ""]
        for verb, command in cli.cli.commands.items()
        for option in command.params
        if isinstance(option, click.Option)
    ]
    assert [row[:3] for row in table("Options")] == expected
    assert all(row[3] for row in table("Options"))


def test_exit_codes() -> None:
    """Each exit code has its row."""
    codes = {*cli.EXIT_CODES.values(), cli.USAGE, cli.UNFORESEEN, 130, 143}
    assert {int(row[0]) for row in table("Exit codes")} == codes
    assert [row[1].split(";")[0] for row in table("Exit codes")][:3] == ["ready", "not ready", "unknown"]


def test_levels_and_reasons() -> None:
    """Each level has its row, and each reason of an unknown is named."""
    assert [row[0].strip("`") for row in table("Verdict and levels")] == list(LEVELS)
    listed = re.search(r"Unknown reasons: (.*?)\.\s", README, re.DOTALL)
    assert listed
    assert re.findall(r"`(\w+)`", listed[1]) == list(UnknownReason.__args__)
