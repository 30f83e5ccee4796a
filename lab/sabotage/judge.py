"""Whether what the probe said agrees with what became of the Pods, and the table of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.sabotage.fate import HANDLERS, KINDS, LEVELS, RUNS, UNUSABLE, Fate, Fates

AGREE, UNKNOWN, NO_REPORT, FALSE_NOT_READY, FALSE_READY = (
    "agree",
    "unknown",
    "no report",
    "false not-ready",
    "false ready",
)
CLASSES = (AGREE, UNKNOWN, NO_REPORT, FALSE_NOT_READY, FALSE_READY)
"""From best to worst."""
WRONG = CLASSES[2:]
_DEFAULT_HANDLER = "runc"
_JUDGED = ("plain", "token", "memory", "disk", "configmap")
"""The Pods that a verdict is about: all below the level `volumes`."""


@dataclass(frozen=True)
class Claim:
    """One thing that the probe said, beside what it is about."""

    subject: str  # a level, or a handler
    predicted: str
    verdict: str  # one of CLASSES


def judge(report: Mapping[str, Any], fates: Fates) -> Iterator[Claim]:
    """Every claim of the report about something that was tried."""
    if report["reason"] == NO_REPORT:
        yield Claim("node", NO_REPORT, NO_REPORT)
        return
    default = fates[_DEFAULT_HANDLER]
    yield _claim("node", report["verdict"], default, _JUDGED)
    kinds: tuple[str, ...] = ()
    for level, more in LEVELS.items():
        kinds += more
        yield _claim(level, report["levels"][level], default, kinds)
    for handler in HANDLERS:
        if handler in report["handlers"]:
            yield _claim(f"handler {handler}", report["handlers"][handler][0], fates[handler], _JUDGED)


def _claim(subject: str, predicted: str, fates: Mapping[str, Fate], kinds: Sequence[str]) -> Claim:
    """`ready` promises that all of these Pods run, `not-ready` that they do not all."""
    all_run = all(fates[kind].runs for kind in kinds)
    right = {"ready": all_run, "not-ready": not all_run}
    if predicted not in right:
        return Claim(subject, predicted, UNKNOWN)
    wrong = FALSE_READY if predicted == "ready" else FALSE_NOT_READY
    return Claim(subject, predicted, AGREE if right[predicted] else wrong)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of these documents, and how many there are of each class."""
    counts = {name: sum(row["class"] == name for row in rows) for name in CLASSES}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    lines = [f"{len(rows)} breaks: {summary}.", ""]
    lines += ["| break | predicted | handler crun | Pods with runc | Pods with crun | host Pods | class |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    return "\n".join(lines + [_line(row) for row in rows])


def _line(row: Mapping[str, Any]) -> str:
    report, fates = row["report"], row["fates"]
    cells = [
        row["name"],
        f"{report['verdict']} {report['reason']}".strip(),
        " ".join(report["handlers"].get("crun", ["not reported", ""])).strip(),
        *(_pods(fates[handler]) for handler in HANDLERS),
        _control(fates),
        row["class"],
    ]
    return f"| {' | '.join(cells)} |"


def _pods(fates: Mapping[str, Sequence[str]]) -> str:
    outcomes = {kind: fates[kind][0] for kind in KINDS}
    if len(set(outcomes.values())) == 1:
        return f"all {outcomes['plain']}" if outcomes["plain"] == UNUSABLE else outcomes["plain"].replace("s", "")
    return ", ".join(f"{kind} {outcome}" for kind, outcome in outcomes.items() if outcome != RUNS)


def _control(fates: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    tried = [f"{handler} {fates[handler]['host'][0]}" for handler in HANDLERS if "host" in fates[handler]]
    return ", ".join(tried) or "not needed"
