"""Explanation of the checks of nested containers, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from probe.checks.nested.check import NestedCheck
from probe.nested import NESTED_LEVELS, NestedLevel
from probe.outputs.documents import render_json
from probe.outputs.nested import LEVEL_NAMES
from probe.outputs.text import Page
from probe.outputs.workloads import WORKLOADS


class NestedDocument(Struct, frozen=True, kw_only=True):
    """Declaration of one check."""

    id: str
    levels: tuple[NestedLevel, ...]
    question: str
    why: str
    reasons: tuple[str, ...]
    documentation: str


def render_nested_check(check: NestedCheck, *, width: int | None, colour: bool) -> str:
    """One check."""
    page = Page(width=width, colour=colour)
    page.line((check.id, "bold"))
    page.line(check.question, indent=2)
    page.blank()
    page.table(
        [
            [("levels  ", "dim"), f"{', '.join(check.levels)}; the node's verdict does not depend on it"],
            [("why", "dim"), check.why],
            [("fails as", "dim"), ", ".join(check.reasons) or "never fails; warns, or is unknown"],
            [("docs   ", "dim"), check.documentation],
        ]
    )
    return str(page)


def render_nested_catalog(checks: Sequence[NestedCheck], *, width: int | None, colour: bool) -> str:
    """All checks below the first level that each decides."""
    page = Page(width=width, colour=colour)
    for level in NESTED_LEVELS:
        page.heading((level.upper(), "bold"), f"  {LEVEL_NAMES[level]}")
        for check in checks:
            if check.levels[0] == level:
                also = f"  also {', '.join(check.levels[1:])}" if check.levels[1:] else ""
                page.line((check.id, "bold"), also, indent=2)
                page.line(check.question, indent=4)
    page.blank()
    page.line((f"The smallest Pod for each: userns-probe explain nested --for {'|'.join(WORKLOADS)}", "dim"))
    return str(page).removeprefix("\n")


def render_nested_json(checks: Sequence[NestedCheck]) -> str:
    """The checks as a JSON list."""
    return render_json(
        [
            NestedDocument(**{name: getattr(check, name) for name in NestedDocument.__struct_fields__})
            for check in checks
        ]
    )
