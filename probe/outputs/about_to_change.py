"""The block of the text about events to come and newer versions."""

from __future__ import annotations

from probe.forecast import EventForecast
from probe.outputs.forecasts import forecast_rows
from probe.outputs.text import Cell, Page, mark
from probe.outputs.upgrades import upgrade_words
from probe.report import Report


def add_forecasts(page: Page, report: Report, verbose: int) -> None:
    """The events; without *verbose* only where one changes something or is due, or an unread file may hide that."""
    rows = forecast_rows(report)
    newer = upgrade_words(report)
    quiet = all(map(_says_nothing, report.forecasts))
    if not rows or (quiet and not newer and not verbose):
        return
    page.heading(("ABOUT TO CHANGE", "bold"), "  the verdict of today does not depend on it")
    table: list[list[Cell]] = [[mark(row.status), row.name, row.answer, (row.why, "dim")] for row in rows]
    page.table(table, marked=True)
    for row in rows:
        seen: list[Cell] = [[*filter(None, (row.pending,)), *row.changes]]
        if seen != [[]]:
            page.table([[(row.name, "dim"), *seen]])
        if row.remediation:
            page.remediation(("fix  ", "dim"), row.remediation)
    if newer:
        page.line((f"Upgrades that help: {newer}; see userns-probe explain upgrade", "dim"), indent=2)


def _says_nothing(forecast: EventForecast) -> bool:
    """Whether a healthy node says the same: nothing changes, or nodes of this kind tell nothing, as in containers."""
    told = forecast.outcome == "turns" or (forecast.outcome == "unknown" and forecast.reason != "NotTried")
    return not (told or forecast.changes or forecast.pending)
