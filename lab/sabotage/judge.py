"""Whether what the probe said agrees with what became of the Pods, and the table of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.sabotage.fate import HANDLERS, KINDS, LEVELS, RUNS, UNUSABLE, Fate, Fates

AGREE, UNKNOWN, ONLY_TRIAL, NO_REPORT, FALSE_NOT_READY, FALSE_READY = (
    "agree",
    "unknown",
    "only --try-pod",
    "no report",
    "false not-ready",
    "false ready",
)
CLASSES = (AGREE, UNKNOWN, ONLY_TRIAL, NO_REPORT, FALSE_NOT_READY, FALSE_READY)
"""From best to worst. `only --try-pod`: a false `ready`, as a known break gives it, that `--try-pod` took back."""
WRONG = CLASSES[3:]
_DEFAULT_HANDLER = "runc"
_JUDGED = ("plain", "token", "memory", "disk", "configmap")
"""The Pods that a verdict is about: all below the level `volumes`."""


@dataclass(frozen=True)
class Claim:
    """One thing that the probe said, beside what it is about."""

    subject: str  # a level, or a handler
    predicted: str
    verdict: str  # one of CLASSES


def worst(claims: Sequence[Claim]) -> str:
    """The worst class of *claims*; empty without any."""
    return max((claim.verdict for claim in claims), key=CLASSES.index, default="")


def judge_row(claims: Sequence[Claim], with_trial: Sequence[Claim], only_trial: bool) -> str:
    """The class of a row; *with_trial* are the claims of a probe with `--try-pod`, if there was one.

    Of a break that only a trial can see, a false `ready` without it is forgiven if the trial is not wrong.
    """
    without, tried = worst(claims), worst(with_trial)
    if tried in WRONG:
        return max(without, tried, key=CLASSES.index)
    return ONLY_TRIAL if without == FALSE_READY and tried and only_trial else without


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
    lines += [
        "| break | predicted | with `--try-pod` | handler crun | Pods with runc | Pods with crun | host Pods | class |"
    ]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    return "\n".join(lines + [_line(row) for row in rows])


def _line(row: Mapping[str, Any]) -> str:
    report, fates = row["report"], row["fates"]
    cells = [
        row["name"],
        _predicted(report),
        _predicted(row["with_trial"]) if row["with_trial"] else "not asked",
        " ".join(report["handlers"].get("crun", ["not reported", ""])).strip(),
        *(_pods(fates[handler]) for handler in HANDLERS),
        _control(fates),
        row["class"],
    ]
    return f"| {' | '.join(cells)} |"


def _predicted(report: Mapping[str, Any]) -> str:
    """The verdict with its reason, and the first level that says otherwise than the ones before it."""
    verdict, levels = f"{report['verdict']} {report['reason']}".strip(), report["levels"]
    first = levels.get("stateless")
    other = next((level for level in levels if levels[level] != first), None)
    return f"{verdict}; {other}: {levels[other]}, below: {first}" if other else verdict


def _pods(fates: Mapping[str, Sequence[str]]) -> str:
    outcomes = {kind: fates[kind][0] for kind in KINDS}
    if len(set(outcomes.values())) == 1:
        return f"all {outcomes['plain']}" if outcomes["plain"] == UNUSABLE else outcomes["plain"].replace("s", "")
    return ", ".join(f"{kind} {outcome}" for kind, outcome in outcomes.items() if outcome != RUNS)


def _control(fates: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    tried = [f"{handler} {fates[handler]['host'][0]}" for handler in HANDLERS if "host" in fates[handler]]
    return ", ".join(tried) or "not needed"
