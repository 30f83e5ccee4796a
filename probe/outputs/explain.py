"""Explanation of the checks: question, consequence, remediation; for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct

from probe.checks.check import Check
from probe.checks.remedies.platforms import PLATFORMS
from probe.checks.remedies.table import remediations_of
from probe.outputs.documents import render_json
from probe.outputs.text import Cell, Page
from probe.outputs.topics import TOPICS
from probe.terms import Level

_FIX = "fix     "


class CheckDocument(Struct, frozen=True, kw_only=True):
    """Declaration of one check."""

    id: str
    level: Level
    gating: bool
    question: str
    why: str
    reasons: tuple[str, ...]
    remediation: str
    documentation: str
    remediations: tuple[dict[str, str], ...]
    """Remediations for a reason or a platform, each with `reason`, `platform`, `text` and `source`."""


def render_check(check: Check, *, width: int | None, colour: bool, platform: str = "") -> str:
    """One check with its fix on *platform*, or on every platform."""
    page = Page(width=width, colour=colour)
    page.line((check.id, "bold"))
    page.line(check.question, indent=2)
    page.blank()
    gating = "if it is unknown, so is the verdict" if check.gating else "if it is unknown, the verdict does not change"
    rows: list[list[Cell]] = [
        [("level   ", "dim"), f"{check.level}; {gating}"],
        [("why", "dim"), check.why],
        [("fails as", "dim"), ", ".join(check.reasons) or "never fails: it warns, or is unknown"],
        [("docs   ", "dim"), check.documentation],
    ]
    declared = remediations_of(check.id)
    fitted = [name for name in PLATFORMS if any(row.platform == name for row in declared)]
    if fitted:
        rows.append([("--for", "dim"), ", ".join(fitted)])
    page.table(rows)
    own = [row for row in declared if row.platform == platform]
    if platform and not own:
        page.blank()
        page.line(f"There is no fix specific to {PLATFORMS[platform]}. For all platforms:", indent=2)
    if not platform or not own:
        page.blank()
        page.remediation((_FIX, "dim"), check.remediation)
    for row in own or [row for row in declared if not row.platform]:
        page.blank()
        where = " on ".join(part for part in (row.reason, PLATFORMS.get(platform, "")) if part)
        page.line((where, "bold"), indent=2)
        page.remediation((_FIX, "dim"), row.text)
        page.table([[("source  ", "dim"), row.source]])
    return str(page)


def render_catalog(checks: Sequence[Check], *, width: int | None, colour: bool) -> str:
    """All checks in stack order, each with its question, below the part of the stack that it is about."""
    page = Page(width=width, colour=colour)
    for name, group in groupby(checks, key=lambda check: check.id.partition("-")[0]):
        page.heading((name.upper(), "bold"))
        for check in group:
            page.line((check.id, "bold"), f"  {check.level}{', gating' if check.gating else ''}", indent=2)
            page.line(check.question, indent=4)
    page.blank()
    page.line(
        (
            "A fail decides the verdict; an unknown only of gating checks. Details: userns-probe explain CHECK",
            "dim",
        )
    )
    page.line((f"Tables, with their sources: userns-probe explain nested|{'|'.join(TOPICS)}", "dim"))
    return str(page).removeprefix("\n")


def render_checks_json(checks: Sequence[Check]) -> str:
    """The checks as a JSON list."""
    return render_json([_document(check) for check in checks])


def _document(check: Check) -> CheckDocument:
    fields = {name: getattr(check, name) for name in CheckDocument.__struct_fields__ if name != "remediations"}
    shown = ("reason", "platform", "source", "text")
    rows = tuple({name: getattr(row, name) for name in shown} for row in remediations_of(check.id))
    return CheckDocument(**fields, remediations=rows)
