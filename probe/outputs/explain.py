"""What the checks ask, why, and how to fix it: for people, and for machines."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from probe.checks.check import Check, Level
from probe.outputs.documents import render_json
from probe.outputs.text import Cell, Page


class CheckDocument(Struct, frozen=True, kw_only=True):
    """What is declared of one check."""

    id: str
    level: Level
    gating: bool
    question: str
    why: str
    reasons: tuple[str, ...]
    remediation: str
    documentation: str


def render_check(check: Check, *, width: int, colour: bool) -> str:
    """One check, whole."""
    page = Page(width=width, colour=colour)
    page.line((check.id, "bold"))
    page.line(check.question, indent=2)
    page.blank()
    gating = "decides the verdict" if check.gating else "explains, and never changes the verdict"
    rows: list[list[Cell]] = [
        [("level", "dim"), f"{check.level}; {gating}"],
        [("why", "dim"), check.why],
        [("fails as", "dim"), ", ".join(check.reasons) or "never"],
        [("read on", "dim"), check.documentation],
    ]
    page.table(rows)
    page.blank()
    page.advice(("fix     ", "dim"), check.remediation)
    return str(page)


def render_catalog(checks: Sequence[Check], *, width: int, colour: bool) -> str:
    """All checks in stack order, with the question each asks."""
    page = Page(width=width, colour=colour)
    for check in checks:
        page.line((check.id, "bold"), f"  {check.level}{', gating' if check.gating else ''}")
        page.line(check.question, indent=2)
    page.blank()
    page.line(("gating: decides the verdict; all others explain. More on one: userns-probe explain CHECK", "dim"))
    return str(page)


def render_checks_json(checks: Sequence[Check]) -> str:
    """The same for machines, as a list."""
    return render_json([_document(check) for check in checks])


def _document(check: Check) -> CheckDocument:
    return CheckDocument(**{name: getattr(check, name) for name in CheckDocument.__struct_fields__})
