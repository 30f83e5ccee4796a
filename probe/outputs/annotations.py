"""Content of a Node: annotations, a label, a condition, Events.

All of it is node-stable: two reports that differ in times, durations, slots in use, processes, devices or in which Pods
happen to run here give the same bytes, so that the Node is written when something changed and never else.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Literal

from msgspec import Struct

from probe.changes import PER_POD
from probe.finding import Finding
from probe.outputs.changes import between, difference_words
from probe.outputs.labels import CHECK_IDS, blocking_reason, filesystem_results, shown
from probe.outputs.text import WORST_FIRST, spaced
from probe.report import OciRuntime, Report
from probe.terms import LEVELS, Status
from probe.verdict import Verdict

PREFIX = "userns-probe.io/"
FIELD_MANAGER = "userns-probe"
"""Owner of the fields that are published, as managedFields name it."""
KEYS = (
    "verdict", "reason", "message", "levels", "handlers", "filesystems", "oci-runtimes", "id-range", "nested",
    "forecasts", "warnings", "report", "boot-id", "agent-version", "changes", "facts",
)  # fmt: skip
"""Every name that node_annotations() and render_memory() can give; the publisher adds `refreshed-at`."""
LABEL = f"{PREFIX}ready"
LABEL_VALUES: dict[Verdict, str] = {"ready": "true", "not-ready": "false", "unknown": "unknown"}
LABEL_KEYS = frozenset({f"{PREFIX}verdict", f"{PREFIX}boot-id"})
"""Annotations that go with the label, published or not: the verdict of now, and the boot that the label is of."""
CONDITION = "UserNamespacesReady"
REPORT_LIMIT = 8 << 10
"""Bytes of the `report` annotation."""
VALUE_LIMIT = 1 << 10
"""Bytes of any other value, of a condition's message and of an Event's."""

_STABLE_LEVELS = tuple(level for level in LEVELS if level != "volumes")
_TOKEN = re.compile(r"[^A-Za-z0-9._-]+")

# Numbers that another process, mount or moment would change, in the sentences of findings.
_VOLATILE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"/proc/\d+"), "/proc/<pid>"),
    (re.compile(r"\b(process|pid|fd/?)( ?)\d+", re.IGNORECASE), r"\1\2<n>"),
    (re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE), "<uid>"),
    (re.compile(r"\b\d+:\d+\b"), "<device>"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(ms|s|seconds|minutes)\b"), r"<n> \1"),
)


class Condition(Struct, frozen=True, kw_only=True):
    """A Node condition without its times, which are the publisher's."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


class Event(Struct, frozen=True, kw_only=True):
    """An Event about the Node."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def node_annotations(report: Report) -> dict[str, str]:
    """Key with prefix -> value; a key without anything to say is left out, so that it vanishes from the Node."""
    values = {
        "verdict": report.verdict,
        "reason": blocking_reason(report),
        "message": message(report),
        "levels": _pairs({level: report.levels.get(level, "unknown") for level in _STABLE_LEVELS}),
        "handlers": _pairs(_handlers(report)),
        "filesystems": _pairs(_filesystems(report)),
        "oci-runtimes": _pairs(_oci_runtimes(report)),
        "id-range": _id_range(report),
        "nested": _pairs({level: one.verdict for level, one in report.nested.levels.items()} if report.nested else {}),
        "forecasts": _pairs({one.event: one.verdict for one in report.forecasts}),
        "warnings": ",".join(one.id for one in _stable_findings(report) if one.status == "warn"),
        "report": _summary(report),
        "boot-id": _token(report.node.boot_id),
        "agent-version": _token(report.agent_version),
    }
    return {f"{PREFIX}{key}": value for key, value in values.items() if value}


def node_label(report: Report, known: Verdict = "unknown") -> dict[str, str]:
    """The label that schedulers select on. *known*: the last verdict of this boot, which outlives an unknown one.

    A label that leaves `true` stops scheduling at once, and a kubelet that restarts then refuses the Pods that run
    (reason NodeAffinity): a probe that crashes shall do neither.
    """
    return {LABEL: LABEL_VALUES[known if report.verdict == "unknown" else report.verdict]}


def node_condition(report: Report) -> Condition:
    """The Node condition."""
    status: dict[Verdict, Literal["True", "False", "Unknown"]]
    status = {"ready": "True", "not-ready": "False", "unknown": "Unknown"}
    reason = blocking_reason(report) or "ChecksPassed"
    return Condition(type=CONDITION, status=status[report.verdict], reason=reason, message=message(report))


def node_event(previous: Verdict | None, report: Report) -> Event | None:
    """The Event about a change of verdict; none without one, or when nothing was known to change from (None)."""
    if previous is None or previous == report.verdict:
        return None
    reasons: dict[Verdict, str] = {
        "ready": CONDITION,
        "not-ready": "UserNamespacesNotReady",
        "unknown": "UserNamespacesUnknown",
    }
    reason = blocking_reason(report)
    change = f"was {spaced(previous)}, is {spaced(report.verdict)}{reason and ', '}{reason}: {message(report)}"
    if found := between(report, previous):
        change = f"{shown(change, VALUE_LIMIT // 2)}; changed: {difference_words(found)}"
    return Event(
        type="Normal" if report.verdict == "ready" else "Warning",
        reason=reasons[report.verdict],
        message=shown(change, VALUE_LIMIT),
    )


def digest(*content: Any) -> str:
    """SHA-256 of *content*: Structs, and values that JSON can hold. Another digest: the Node is to be written."""
    text = json.dumps(content, sort_keys=True, default=_fields)
    return hashlib.sha256(text.encode()).hexdigest()


def message(report: Report) -> str:
    """The report's sentence without the numbers that change by themselves."""
    text = report.message[: 4 * VALUE_LIMIT]
    for pattern, stable in _VOLATILE:
        text = pattern.sub(stable, text)
    return shown(text, VALUE_LIMIT)


def _filesystems(report: Report) -> dict[str, str]:
    """`kubelet-root=ext4:supported`; those of volumes come and go with Pods."""
    results: dict[str, list[str]] = {}
    for (role, fstype), result in filesystem_results(report).items():
        if role != "volume":
            results.setdefault(role, []).append(f"{fstype}:{result}" if fstype else result)
    return {role: "+".join(answers) for role, answers in results.items()}


def _handlers(report: Report) -> dict[str, str]:
    """`(default)=ready`, the default handler first."""
    return {_token(one.name) or "(default)": one.verdict for one in sorted(report.handlers, key=lambda one: one.name)}


def _oci_runtimes(report: Report) -> dict[str, str]:
    """`(default)=runc/1.3.6`, the default handler first; a runtime may tell them in another order each time."""

    def key(one: OciRuntime) -> tuple[str, str, str]:
        return one.handler, one.name, one.version

    return {
        _token(one.handler) or "(default)": "/".join(filter(None, (_token(one.name), _token(one.version)))) or "unknown"
        for one in sorted(report.facts.oci_runtimes, key=key)
    }


def _id_range(report: Report) -> str:
    return _pairs(
        {
            name: str(value)
            for pool in report.id_ranges[:1]
            for name, value in (("first", pool.first), ("count", pool.count), ("ids-per-pod", pool.ids_per_pod))
        }
    )


def _stable_findings(report: Report) -> list[Finding]:
    """Findings that are no pass, the worst first, then in stack order."""
    found = {
        finding.id: finding for finding in report.findings if finding.level != "volumes" and finding.id not in PER_POD
    }
    order: dict[Status, int] = {status: index for index, status in enumerate(WORST_FIRST)}
    chosen = [found[check] for check in CHECK_IDS if check in found and found[check].status in order]
    return sorted(chosen, key=lambda finding: order[finding.status])


def _summary(report: Report) -> str:
    """The `report` annotation: always valid JSON; when too long, whole findings go, from the end, and are counted."""
    findings = [{"id": one.id, "status": one.status, "reason": one.reason} for one in _stable_findings(report)]
    document: dict[str, Any] = {
        "schema": report.schema,
        "verdict": report.verdict,
        "reason": blocking_reason(report),
        "levels": {level: report.levels.get(level, "unknown") for level in _STABLE_LEVELS},
        "findings": [*findings],
    }
    while len(text := json.dumps(document, separators=(",", ":"))) > REPORT_LIMIT:
        document["findings"].pop()
        document["omitted"] = len(findings) - len(document["findings"])
    return text


def _pairs(values: dict[str, str]) -> str:
    """`key=value,key=value`; when too long, whole pairs go, from the end, and `omitted=N` counts them."""
    pairs = [f"{key}={value}" for key, value in values.items()]
    omitted = 0
    while len(text := ",".join(pairs + [f"omitted={omitted}"] * bool(omitted))) > VALUE_LIMIT:
        pairs.pop()
        omitted += 1
    return text


def _token(text: str) -> str:
    """A word that needs no quoting anywhere: what is not a letter, digit, dot, dash or underscore becomes `_`."""
    return _TOKEN.sub("_", text[:64])


def _fields(value: object) -> object:
    if isinstance(value, Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    raise TypeError(f"{type(value).__name__} has no digest")
