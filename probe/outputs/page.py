"""The Report as one page of HTML: no script, nothing from elsewhere, no markup out of a node's strings."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from probe import __version__
from probe.changes import KEPT
from probe.finding import Finding
from probe.outputs import view
from probe.outputs.changes import answer_words, difference_words, since_of
from probe.outputs.devices import device_rows
from probe.outputs.forecasts import forecast_rows
from probe.outputs.links import links
from probe.outputs.nested import nested_rows
from probe.outputs.preflight import preflight
from probe.outputs.staleness import STALE, parse_time
from probe.outputs.templating import environment_of
from probe.outputs.text import MARKS, WORST_FIRST, spaced, visible
from probe.report import STATUS_OF, FilesystemRow, Report, VolumeRow, decisive_finding
from probe.terms import Status

if TYPE_CHECKING:  # it is imported for the first page: most exporters are never asked for one
    import jinja2

ROWS_LIMIT = 50
"""Rows of one table; the rest is counted."""
REFRESH = 60
"""Seconds after which a browser asks again."""
_LONGEST = 20_000  # characters of one string
_ANCHOR = re.compile("[a-z][a-z0-9-]{0,63}")


class Paragraph(Struct, frozen=True):
    """A part of a remediation: a sentence, or lines that can be pasted."""

    kind: Literal["text", "commands"]
    lines: list[str]


class Problem(Struct, frozen=True):
    """Findings that have one cause and one fix."""

    status: Status
    reason: str
    remediation: str
    """Empty when it was given already."""
    findings: list[Finding]


class Row(Struct, frozen=True):
    """A row of any table with an answer in it."""

    status: Status
    cells: tuple[str, ...]
    answer: str
    why: str = ""


def render_page(
    report: Report | None,
    *,
    last: Report | None = None,
    note: str = "",
    minutes: int | None = None,
    node_name: str | None = None,
) -> str:
    """The page of *report*, the effective one; None: there is none yet, and *note* says why, if more is known.

    *last* is the report as it was written, which the page shows below, marked as such, when *report* has expired.
    *minutes* is the age of its probe. *node_name* is the Node's, for a page without a report.
    """
    seen = last if report is not None and report.reason == STALE and last is not None else report
    decisive = decisive_finding(report) if report else None
    findings = [finding for finding in (seen.findings if seen else ()) if finding is not decisive]
    told = view.consequences(report) if report else []
    filesystems = [_filesystem(row) for row in seen.filesystems if row.role != "volume"] if seen else []
    return _template().render(
        report=report,
        seen=seen,
        note=note,
        age="" if minutes is None else _age(minutes),
        name=visible(view.node_name(seen) if seen else node_name or "") or "this node",
        decisive=decisive,
        causes=view.causes(report) if report else [],
        service=view.silent_runtime(decisive) if decisive else "",
        restart=view.restart(seen) if seen else None,
        since=since_of(report) if report else None,
        changes=report.changes[: -KEPT - 1 : -1] if report else (),
        preflight=preflight(report) if report else [],
        verdict=report.verdict if report else "unknown",
        problems=_problems([one for one in findings if one not in told], decisive),
        told=told,
        quiet=[one for status in ("pass", "skipped") for one in findings if one.status == status],
        stack=_stack(seen) if seen else [],
        handlers=_handlers(seen) if seen else [],
        nested=nested_rows(seen) if seen else [],
        forecasts=forecast_rows(seen) if seen else [],
        devices=device_rows(seen) if seen else [],
        filesystems=filesystems,
        volumes=[_volume(row) for row in seen.volumes] if seen else [],
        version=__version__,
    )


def content_security_policy() -> str:
    """The value of the Content-Security-Policy header: this page's own style and icon, and nothing else."""
    style = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@lru_cache
def _style() -> str:
    return (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")


@lru_cache
def _template() -> jinja2.Template:
    return environment().get_template("page.html.j2")


def environment() -> jinja2.Environment:
    """The environment of the template; each string that it prints goes through `visible` and is escaped."""
    from markupsafe import Markup

    from probe.outputs.compiled import CompiledTemplates

    made = environment_of("probe.outputs", _LONGEST)
    made.bytecode_cache = CompiledTemplates()
    made.filters |= {
        "spaced": spaced,
        "remediation": _remediation,
        "answer": answer_words,
        "difference": difference_words,
        "moment": _moment,
        "machine_time": _machine_time,
        "links": links,
        "anchor": _anchor,
    }
    made.globals |= {
        "style": Markup(_style()),  # noqa: S704 - ours
        "marks": MARKS,
        "status_of": STATUS_OF,
        "level_names": view.LEVEL_NAMES,
        "rows_limit": ROWS_LIMIT,
        "refresh": REFRESH,
        "stale": STALE,
    }
    return made


def _problems(findings: Sequence[Finding], decisive: Finding | None) -> list[Problem]:
    """The other findings that are no pass, the worst first; those of one cause and one fix together."""
    groups: dict[tuple[Status, str, str], list[Finding]] = {}
    for finding in (one for status in WORST_FIRST for one in findings if one.status == status):
        groups.setdefault((finding.status, finding.reason, finding.remediation), []).append(finding)
    told = decisive.remediation if decisive else ""
    return [
        Problem(status, reason, "" if remediation == told else remediation, found)
        for (status, reason, remediation), found in groups.items()
    ]


def _stack(report: Report) -> list[Row]:
    """The layers with their status."""
    words = {"skipped": "not checked"}
    return [Row(row.status, (row.name, row.words), words.get(row.status, row.status)) for row in view.layers(report)]


def _handlers(report: Report) -> list[Row]:
    """One row for all handlers that share an OCI runtime and an answer."""
    return [
        Row(row.status, (_listed(row.names), view.runtime_words(row.runtime)), row.answer, row.reason)
        for row in view.handlers(report)
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - ROWS_LIMIT} more" if len(names) > ROWS_LIMIT else ""
    return ", ".join(names[:ROWS_LIMIT]) + more


def _filesystem(row: FilesystemRow) -> Row:
    said = view.answer(row)
    why = f"{said.why} ({said.call})" if said.why and said.call else said.why or said.call
    return Row(said.status, (row.role, row.fstype or "not known", row.path or ""), said.word, why)


def _volume(row: VolumeRow) -> Row:
    said = view.answer(row)
    return Row(said.status, (row.driver or "not known", row.fstype or "not known", str(row.count)), said.word, said.why)


def _remediation(text: str) -> list[Paragraph]:
    """Sentences, and lines that can be pasted: those that are indented, without their common margin."""
    lines = [line for line in text.split("\n") if line.strip()]
    margin = min((len(line) - len(line.lstrip(" ")) for line in lines if line.startswith(" ")), default=0)
    parts: list[Paragraph] = []
    for line in lines:
        kind: Literal["text", "commands"] = "commands" if line.startswith(" ") else "text"
        if kind == "text" or not parts or parts[-1].kind != kind:
            parts.append(Paragraph(kind, []))
        parts[-1].lines.append(line[margin:] if kind == "commands" else line)
    return parts


def _anchor(check: str) -> str:
    """The id of a check as an anchor; empty when it cannot be one."""
    return check if _ANCHOR.fullmatch(check) else ""


def _age(minutes: int) -> str:
    """`4 minutes ago`."""
    for length, unit in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if minutes >= length:
            number = minutes // length
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "less than a minute ago"


def _moment(text: str) -> str:
    """`2026-11-21 21:30:00 UTC`; any other text as it is."""
    seconds = parse_time(text)
    return text if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _machine_time(text: str) -> str:
    """The same in RFC 3339; empty when the text is not a time."""
    seconds = parse_time(text)
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
