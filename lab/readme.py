"""The parts of README.md and docs/ that the code decides, each between two comments with its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click
from msgspec import Struct
from msgspec.structs import replace

from lab import tables
from lab.recorded import Recording
from lab.tables import table as _table
from probe.checks.catalog import CHECKS
from probe.checks.forecasts.catalog import CHECKS as FORECASTS
from probe.checks.nested.catalog import CHECKS as NESTED_CHECKS
from probe.cli import verbs as cli
from probe.outputs.metrics import families
from probe.outputs.publishing import Publishing
from probe.outputs.terminal import render_report

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
RECORDED = "containerd-2.1.9-kernel-6.1"


class Part(Struct, frozen=True):
    """A part of a page, and the function that writes it."""

    page: Path
    write: Callable[[], str]


def report() -> str:
    """The whole report of a recorded node, as the command prints it."""
    return f"```\n{_report()}\n```"


def summary() -> str:
    """The same without its details: verdict, stack and levels."""
    above = _report().split("\n\nFILE SYSTEMS")[0]
    return f"```\n{above}\n```"


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


def nested() -> str:
    """A row for each check of nested containers."""
    rows = (
        (
            f"`{check.id}`",
            ", ".join(check.levels),
            check.question,
            ", ".join(f"`{reason}`" for reason in check.reasons),
        )
        for check in NESTED_CHECKS
    )
    return _table(("check", "levels", "question", "reasons of a failure"), rows)


def forecasts() -> str:
    """A row for each forecast."""
    return _table(("forecast", "question"), ((f"`{check.id}`", check.question) for check in FORECASTS))


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
        if isinstance(option, click.Option) and not option.hidden
    )
    return _table(("verb", "option", "environment", "meaning"), rows)


def metrics() -> str:
    """A row for each metric, with its labels and its HELP: those of a report that leaves none out."""
    publishing = Publishing(results={"success": 1}, last_success=1.0)
    full = Recording(RECORDED).report()
    full = replace(full, confirmed_at=full.probed_at, contradictions=("runtime-kernel-claim",))
    rows = (
        (
            f"`{family.name}{'_total' if family.type == 'counter' else ''}`",
            ", ".join(f"`{label}`" for label in sorted({label for one in family.samples for label in one.labels})),
            family.documentation.replace("|", "\\|"),
        )
        for family in families(full, publishing, "node-1")
    )
    return _table(("metric", "labels", "meaning"), rows)


PARTS: dict[str, Part] = {
    "summary": Part(README, summary),
    "report": Part(DOCS / "troubleshooting.md", report),
    "checks": Part(DOCS / "checks.md", checks),
    "forecasts": Part(DOCS / "checks.md", forecasts),
    "nested": Part(DOCS / "nested.md", nested),
    "drivers": Part(DOCS / "volumes.md", tables.drivers),
    "filesystems": Part(DOCS / "volumes.md", tables.filesystems),
    "servers": Part(DOCS / "volumes.md", tables.servers),
    "gates": Part(DOCS / "versions.md", tables.gates),
    "pod-security": Part(DOCS / "versions.md", tables.pod_security),
    "host-network": Part(DOCS / "versions.md", tables.host_networks),
    "pod-limits": Part(DOCS / "versions.md", tables.pod_limits),
    "options": Part(DOCS / "options.md", options),
    "metrics": Part(DOCS / "metrics.md", metrics),
}
BENCH = DOCS / "cost.md"
"""The page with the table of scripts/bench, as its part `bench`."""


def part(text: str, name: str) -> str:
    """The text between the comments of that name."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", text, re.DOTALL)
    assert found, f"the page has no part {name}"
    return found[1]


def replaced(text: str, name: str, content: str) -> str:
    """*text* with *content* between the comments of that name."""
    return text.replace(f"<!-- {name} -->\n{part(text, name)}\n", f"<!-- {name} -->\n{content}\n")


def _report() -> str:
    return render_report(Recording(RECORDED).report(), width=100, colour=False).rstrip()
