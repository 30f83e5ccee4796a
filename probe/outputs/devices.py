"""Rows of the Report's devices, for terminal and page."""

from __future__ import annotations

from msgspec import Struct

from probe.devices import DeviceKind, KindOutcome
from probe.outputs.text import Cell, Page, mark
from probe.report import Report
from probe.terms import Status

_STATUS: dict[KindOutcome, Status] = {"works": "pass", "partly": "warn", "fails": "fail", "unknown": "unknown"}
_WAYS = {"cdi": "CDI", "device-plugin": "device plugin", "legacy": "prestart hook"}
_NAMES = 20


class DeviceRow(Struct, frozen=True):
    """One kind of device."""

    status: Status
    kind: str
    answer: str
    about: str
    """Source and number of its devices, and the handler unless it is the default one."""
    why: tuple[str, ...]


def device_rows(report: Report) -> list[DeviceRow]:
    """A row for each kind of device of each handler that the report tells of."""
    return [_row(one) for one in report.devices]


def _row(kind: DeviceKind) -> DeviceRow:
    number = len(kind.devices) + kind.omitted
    counted = [f"{number} device{'s' if number > 1 else ''}"] if number else []
    more = f" and {len(kind.also)} more" if kind.also else ""
    handler = [f"handler {kind.handler}{more}"] if kind.handler else []
    why = tuple(_cause(cause.message, cause.devices, number, cause.example) for cause in kind.causes)
    answer = {"partly": "some fail"}.get(kind.outcome, kind.outcome)
    about = ", ".join((_WAYS[kind.way], *counted, *handler))
    return DeviceRow(_STATUS[kind.outcome], kind.kind, answer, about, why or (kind.message,))


def _cause(message: str, concerned: int, number: int, example: str) -> str:
    return f"{message} ({concerned} of {number}, {example})" if concerned < number else message


def render_devices(report: Report, *, width: int | None, colour: bool) -> str:
    """All kinds of devices of *report*, each with all reasons and fixes."""
    page = Page(width=width, colour=colour)
    if not report.devices:
        page.blank()
        page.line("The report tells of no device.", indent=2)
    for row, kind in zip(device_rows(report), report.devices, strict=True):
        page.blank()
        page.table([[mark(row.status), (row.kind, "bold"), row.answer, (row.about, "dim")]], marked=True)
        for why in row.why:
            page.line(why, indent=4)
        for remediation in dict.fromkeys(cause.remediation for cause in kind.causes if cause.remediation):
            page.remediation(("fix  ", "dim"), remediation, 4)
    return str(page)


def add_devices(page: Page, report: Report, verbose: int) -> None:
    """Kinds with their first cause; with *verbose*, all causes, fixes and devices."""
    rows = device_rows(report)
    if not rows:
        return
    page.heading(("DEVICES", "bold"), "  of Pods with a user namespace; the verdict does not depend on them")
    table: list[list[Cell]] = [
        [mark(row.status), row.kind, row.answer, (row.about, "dim"), (row.why[0], "dim")] for row in rows
    ]
    page.table(table, marked=True)
    if not verbose:
        return
    for row, kind in zip(rows, report.devices, strict=True):
        for why in row.why[1:]:
            page.table([[(f"{row.kind} also", "dim"), why]])
        if named := [f"{name} {outcome}" for name, outcome in list(kind.devices.items())[:_NAMES]]:
            page.table([[(f"{row.kind} has", "dim"), ", ".join(named)]])
