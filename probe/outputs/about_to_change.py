"""The block of the text about events to come and newer versions."""

from __future__ import annotations

from probe.forecast import EventForecast
from probe.outputs.forecasts import forecast_rows
from probe.outputs.text import Cell, Page, mark
from probe.outputs.upgrades import upgrade_words
from probe.report import Report


def add_forecasts(page: Page, report: Report, verbose: int) -> None:
    """The events, without *verbose* only those that change something, are due, or may hide a change in an unread file.

    Newer versions have a line of their own.
    """
    newer = upgrade_words(report) if report.forecasts else ""
    pairs = zip(report.forecasts, forecast_rows(report), strict=True)
    rows = [row for forecast, row in pairs if verbose or not _says_nothing(forecast)]
    if not rows and not newer:
        return
    page.heading(("ABOUT TO CHANGE", "bold"), "  today's verdict does not depend on it")
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
