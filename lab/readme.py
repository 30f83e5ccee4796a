"""The parts of README.md that the code decides, each between two comments that name it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click

from lab.recorded import Recording
from probe.checks.catalog import CHECKS
from probe.cli import verbs as cli
from probe.outputs.metrics import Publishing, families
from probe.outputs.terminal import render_report

README = Path(__file__).parents[1] / "README.md"
RECORDED = "containerd-2.1.9-kernel-6.1"


def report() -> str:
    """What the command says of a recorded node."""
    return f"```\n{render_report(Recording(RECORDED).report(), width=100, colour=False).rstrip()}\n```"


def checks() -> str:
    """A row for each check, in stack order."""
    rows = (
        (
            f"`{check.id}`",
            check.level,
            "yes" if check.gating else "",
            check.question,
            ", ".join(f"`{reason}`" for reason in check.reasons),
        )
        for check in CHECKS
    )
    return _table(("check", "level", "gates", "question", "reasons of a failure"), rows)


def options() -> str:
    """A row for each option of each verb."""
    rows = (
        (
            verb,
            f"`{max(option.opts, key=len)}`",
            f"`{option.envvar}`" if option.envvar else "",
            (option.help or "").replace("|", "\\|"),
        )
        for verb, command in cli.cli.commands.items()
        for option in command.params
        if isinstance(option, click.Option)
    )
    return _table(("verb", "option", "environment", "meaning"), rows)


def metrics() -> str:
    """A row for each metric, with its labels and its HELP."""
    publishing = Publishing(results={"success": 1}, last_success=1.0)
    rows = (
        (
            f"`{family.name}{'_total' if family.type == 'counter' else ''}`",
            ", ".join(f"`{label}`" for label in sorted({label for one in family.samples for label in one.labels})),
            family.documentation.replace("|", "\\|"),
        )
        for family in families(Recording(RECORDED).report(), publishing)
    )
    return _table(("metric", "labels", "meaning"), rows)


PARTS: dict[str, Callable[[], str]] = {"report": report, "checks": checks, "options": options, "metrics": metrics}


def part(text: str, name: str) -> str:
    """What stands between the comments of that name."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", text, re.DOTALL)
    assert found, f"README.md has no part {name}"
    return found[1]


def replaced(text: str, name: str, content: str) -> str:
    """*text* with *content* between the comments of that name."""
    return text.replace(f"<!-- {name} -->\n{part(text, name)}\n", f"<!-- {name} -->\n{content}\n")


def _table(head: tuple[str, ...], rows: object) -> str:
    lines = [head, ["---"] * len(head), *rows]  # type: ignore[misc]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
