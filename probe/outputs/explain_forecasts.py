"""Explanation of the forecasts, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from probe.checks.forecasts.catalog import ForecastCheck
from probe.outputs.documents import render_json
from probe.outputs.text import Page


class ForecastDocument(Struct, frozen=True, kw_only=True):
    """Declaration of one forecast."""

    id: str
    question: str
    why: str
    remediation: str
    documentation: str


def render_forecast_check(check: ForecastCheck, *, width: int | None, colour: bool) -> str:
    """One forecast."""
    page = Page(width=width, colour=colour)
    page.line((check.id, "bold"))
    page.line(check.question, indent=2)
    page.blank()
    page.table(
        [
            [("outcome ", "dim"), "stays, turns or unknown; today's verdict does not depend on it"],
            [("why", "dim"), check.why],
            [("docs   ", "dim"), check.documentation],
        ]
    )
    page.blank()
    page.remediation(("fix     ", "dim"), check.remediation)
    return str(page)


def render_forecasts_json(checks: Sequence[ForecastCheck]) -> str:
    """The forecasts as a JSON list."""
    names = ForecastDocument.__struct_fields__
    return render_json([ForecastDocument(**{name: getattr(check, name) for name in names}) for check in checks])
