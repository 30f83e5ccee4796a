"""Rows of the Report's forecasts, for terminal and page."""

from __future__ import annotations

from msgspec import Struct

from probe.forecast import Change, Event, EventForecast
from probe.outputs.text import spaced
from probe.report import Report
from probe.terms import Status

NAMES: dict[Event, str] = {"boot": "next boot", "runtime-restart": "next runtime restart"}


class ForecastRow(Struct, frozen=True):
    """One event."""

    status: Status
    name: str
    answer: str
    why: str
    """Reason and sentence of a turn, or what is not known."""
    pending: str
    changes: tuple[str, ...]
    remediation: str


def forecast_rows(report: Report) -> list[ForecastRow]:
    """A row for each event."""
    return [_row(one, report) for one in report.forecasts]


def _row(forecast: EventForecast, report: Report) -> ForecastRow:
    return ForecastRow(
        status=_status(forecast, report),
        name=NAMES[forecast.event],
        answer=_answer(forecast),
        why=_why(forecast),
        pending=forecast.pending,
        changes=tuple(map(change_words, forecast.changes)),
        remediation=forecast.remediation,
    )


def _why(forecast: EventForecast) -> str:
    if forecast.outcome == "stays":
        return ""
    if forecast.outcome == "unknown":
        return forecast.message.partition(" is unknown: ")[2] or forecast.message
    return f"{forecast.reason}: {forecast.message}" if forecast.reason else forecast.message


def _status(forecast: EventForecast, report: Report) -> Status:
    """A turn for the worse is a warning: it decides nothing of today. To stay not ready is neither."""
    if forecast.outcome == "unknown":
        return "unknown"
    if forecast.outcome == "stays":
        return "pass" if forecast.verdict == "ready" else "skipped"
    return "pass" if forecast.verdict == "ready" != report.verdict else "warn"


def _answer(forecast: EventForecast) -> str:
    return "unknown" if forecast.outcome == "unknown" else f"{forecast.outcome} {spaced(forecast.verdict)}"


def change_words(change: Change) -> str:
    """`kernel: 6.12.9-amd64, then 6.1.0-30-amd64 (/boot/grub/grub.cfg)`."""
    return f"{change.what}: {change.now}, then {change.then} ({change.source})"
