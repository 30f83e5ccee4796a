"""The Report as one page of HTML: no script, nothing from elsewhere, nothing of a node's that could become markup."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Literal

import jinja2
from markupsafe import Markup
from msgspec import Struct

from probe import __version__
from probe.checks.check import Finding, Status
from probe.outputs.staleness import STALE, parse_time
from probe.outputs.terminal import LEVEL_NAMES
from probe.outputs.text import MARKS, WORST_FIRST, spaced, visible
from probe.report import STATUS_OF, FilesystemRow, Report, VolumeRow, decisive_finding
from probe.verdict import Verdict

ROWS_LIMIT = 50
"""Rows of one table; the rest is counted."""
_LONGEST = 20_000  # characters of one string


class Paragraph(Struct, frozen=True):
    """A part of an advice: a sentence, or lines that can be pasted."""

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


def render_page(report: Report | None, *, last: Report | None = None, note: str = "") -> str:
    """The page of *report*, the effective one; None: there is none yet, and *note* says why, if more is known.

    *last* is the report as it was written, which the page shows below, marked as such, when *report* has expired.
    """
    seen = last if report is not None and report.reason == STALE and last is not None else report
    decisive = decisive_finding(report) if report else None
    findings = [finding for finding in (seen.findings if seen else ()) if finding is not decisive]
    return _template().render(
        report=report,
        seen=seen,
        note=note,
        decisive=decisive,
        verdict=report.verdict if report else "unknown",
        problems=_problems(findings, decisive),
        quiet=[one for status in ("pass", "skipped") for one in findings if one.status == status],
        stack=_stack(seen) if seen else [],
        handlers=_handlers(seen) if seen else [],
        filesystems=[_filesystem(row) for row in seen.filesystems if row.role != "volume"] if seen else [],
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
    return (files("probe.outputs") / "templates" / "page.css").read_text(encoding="utf-8")


@lru_cache
def _template() -> jinja2.Template:
    """Whatever the template prints goes through `visible` and is escaped; the template cannot forget it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("probe.outputs"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value, _LONGEST) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"spaced": spaced, "advice": _advice, "moment": _moment, "machine_time": _machine_time}
    environment.globals |= {
        "style": Markup(_style()),  # noqa: S704 - ours
        "marks": MARKS,
        "status_of": STATUS_OF,
        "level_names": LEVEL_NAMES,
        "rows_limit": ROWS_LIMIT,
        "stale": STALE,
    }
    return environment.get_template("page.html.j2")


def _problems(findings: Sequence[Finding], decisive: Finding | None) -> list[Problem]:
    """What else is wrong, the worst first; what has one cause and one fix is told together."""
    groups: dict[tuple[Status, str, str], list[Finding]] = {}
    for finding in (one for status in WORST_FIRST for one in findings if one.status == status):
        groups.setdefault((finding.status, finding.reason, finding.remediation), []).append(finding)
    told = decisive.remediation if decisive else ""
    return [
        Problem(status, reason, "" if remediation == told else remediation, found)
        for (status, reason, remediation), found in groups.items()
    ]


def _stack(report: Report) -> list[Row]:
    """Kernel, kubelet, runtime, each with the worst of what is wrong in it."""
    facts = report.facts
    distribution = facts.kubelet_distribution if facts.kubelet_distribution != "kubelet" else ""
    snapshotter = f"with snapshotter {facts.snapshotter}" if facts.snapshotter else ""
    return [
        _layer(report, "Kernel", "kernel-", facts.kernel_release, facts.architecture),
        _layer(report, "Kubelet", "kubelet-", facts.kubelet_version, distribution),
        _layer(report, "Container runtime", "runtime-", facts.runtime_name, facts.runtime_version, snapshotter),
    ]


def _layer(report: Report, name: str, prefix: str, *words: str) -> Row:
    found = {finding.status for finding in report.findings if finding.id.startswith(prefix)}
    order: tuple[Status, ...] = (*WORST_FIRST, "pass")
    status: Status = next((status for status in order if status in found), "skipped")
    answers: dict[Status, str] = {"fail": "fails", "unknown": "unknown", "warn": "warning", "pass": "fine"}
    return Row(status, (name, " ".join(filter(None, words)) or "not known"), answers.get(status, "none"))


def _handlers(report: Report) -> list[Row]:
    """One row for all handlers that share an OCI runtime and a verdict."""
    runtimes = {one.handler: f"{one.name} {one.version}".strip() for one in report.facts.oci_runtimes}
    groups: dict[tuple[str, Verdict, str], list[str]] = {}
    for handler in report.handlers:
        key = (runtimes.get(handler.name) or "not known", handler.verdict, handler.reason)
        groups.setdefault(key, []).append(handler.name or "(default)")
    return [
        Row(STATUS_OF[verdict], (_listed(names), runtime), spaced(verdict), reason)
        for (runtime, verdict, reason), names in groups.items()
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - ROWS_LIMIT} more" if len(names) > ROWS_LIMIT else ""
    return ", ".join(names[:ROWS_LIMIT]) + more


def _filesystem(row: FilesystemRow) -> Row:
    call = f"{row.errno} from {row.step}" if row.errno and row.step else row.errno
    why = f"{row.reason} ({call})" if row.reason and call else row.reason or call
    if row.usable == "partly" and not row.reason:
        why = "mounts below it show up as nobody"
    status, answer = _answer(row)
    return Row(status, (row.role, row.fstype or "not known", row.path or ""), answer, why)


def _volume(row: VolumeRow) -> Row:
    status, answer = _answer(row)
    return Row(status, (row.driver or "not known", row.fstype or "not known", str(row.count)), answer, row.reason)


def _answer(row: FilesystemRow | VolumeRow) -> tuple[Status, str]:
    """How good the answer is, and the one word for it."""
    if row.result != "supported":
        return ("fail", "refused") if row.result == "refused" else ("unknown", "unknown")
    usable: dict[str, tuple[Status, str]] = {
        "read-only": ("pass", "read-only"),
        "partly": ("warn", "partly"),
        "no": ("fail", "not usable"),
    }
    return usable.get(row.usable or "", ("pass", "supported"))


def _advice(text: str) -> list[Paragraph]:
    """Sentences, and what can be pasted: lines that are indented, without their common margin."""
    lines = [line for line in text.split("\n") if line.strip()]
    margin = min((len(line) - len(line.lstrip(" ")) for line in lines if line.startswith(" ")), default=0)
    parts: list[Paragraph] = []
    for line in lines:
        kind: Literal["text", "commands"] = "commands" if line.startswith(" ") else "text"
        if kind == "text" or not parts or parts[-1].kind != kind:
            parts.append(Paragraph(kind, []))
        parts[-1].lines.append(line[margin:] if kind == "commands" else line)
    return parts


def _moment(text: str) -> str:
    """`2026-11-21 21:30:00 UTC`; what is no time stays as it is."""
    seconds = parse_time(text)
    return text if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _machine_time(text: str) -> str:
    """The same for machines; empty when it is no time."""
    seconds = parse_time(text)
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
