"""What a report may say while a fault lasts: what it says when all is well, or that something is not known, and why."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.real.node import Probed

NOTHING: Mapping[str, Collection[str]] = {}
LEVELS = ("stateless", "projected", "local", "volumes")
"""What works, each with all that comes before it."""

_CODES = {(0, "ready"), (1, "not-ready"), (2, "unknown")}
_TOLD_BY = {
    "kubelet-root": "kubelet-running",
    "runtime-root": "runtime-user-namespaces",
    "overlay-layers": "runtime-user-namespaces",
}
"""Whoever cannot ask a daemon where its files lie looks where they usually do."""
_WHY_NOTHING = ("probe-privileges", "kubelet-running")
"""Findings of which one says why, where nothing that decides is known."""


class BrokenError(Exception):
    """Something that was expected did not hold; the text says what."""


def demand(condition: object, otherwise: str) -> None:
    """Raise BrokenError with those words unless *condition* holds."""
    if not condition:
        raise BrokenError(otherwise)


@dataclass(frozen=True)
class Check:
    """What one check said, and what it decides."""

    status: str
    level: str
    gating: bool

    def counts_at(self, level: str, status: str) -> bool:
        """Whether that answer of it decides *level*: each failure does, an unknown if it gates or is about volumes."""
        within = LEVELS.index(self.level) <= LEVELS.index(level)
        return within and (status == "fail" or self.gating or self.level == "volumes")


@dataclass(frozen=True)
class Well:
    """What a probe says of a node on which all is well."""

    checks: Mapping[str, Check] = field(default_factory=dict)
    filesystems: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Role -> type and result; volumes are what the faults are about."""
    nested: frozenset[str] = frozenset()
    """Levels of nested containers that are ready."""

    @classmethod
    def of(cls, report: dict[str, Any]) -> Well:
        """The same in a report."""
        return cls(
            {each["id"]: Check(each["status"], each["level"], each["gating"]) for each in report["findings"]},
            {row["role"]: (row["fstype"], row["result"]) for row in _tried(report)},
            _nested_ready(report),
        )

    def lost(self, report: dict[str, Any]) -> set[str]:
        """The checks that are unknown in *report* and otherwise are not."""
        return {check for check, new in statuses(report).items() if new == "unknown" != self.checks[check].status}

    def judge(
        self,
        probed: Probed,
        *verdicts: str,
        unknown: Collection[str] | None,
        cause: Collection[str],
        right: Mapping[str, Collection[str]],
        moved: Collection[str],
    ) -> None:
        """Raise BrokenError unless that report is honest, as `Stage.expect` has it."""
        demand(not probed.stderr, f"said {probed.stderr[-300:]!r} on stderr")
        demand(probed.code in (0, 1, 2), f"exit code {probed.code}")
        report = probed.report
        demand((probed.code, report["verdict"]) in _CODES, f"exit code {probed.code} with {report['verdict']}")
        demand(report["verdict"] in verdicts, f"{report['verdict']}, {report['reason']}: {report['message']}")
        self._judge_findings(report, unknown, cause, right)
        self._judge_filesystems(report, moved)
        self._judge_levels(report)
        self._judge_nested(report)

    def _judge_findings(
        self,
        report: dict[str, Any],
        unknown: Collection[str] | None,
        cause: Collection[str],
        right: Mapping[str, Collection[str]],
    ) -> None:
        """None missing, none wrong, and none unknown but for a cause."""
        now = statuses(report)
        demand(set(now) == set(self.checks), f"not the same checks: {sorted(set(now) ^ set(self.checks))}")
        changed = {check: new for check, new in now.items() if new != self.checks[check].status}
        changed = {check: new for check, new in changed.items() if new not in right.get(check, ())}
        wrong = {check: new for check, new in changed.items() if new != "unknown"}
        demand(not wrong, f"checks say what is not so: {wrong}")
        unasked = set(changed) - set(changed if unknown is None else unknown)
        demand(not unasked, f"not judged although nothing stood in the way: {sorted(unasked)}")
        silent = [each["id"] for each in report["findings"] if each["status"] == "unknown" and not each["message"]]
        demand(not silent, f"unknown without a reason: {silent}")
        blamed = [
            each["id"] for each in report["findings"] if each["id"] in changed and each["reason"] == "NotPermitted"
        ]
        demand(not blamed, f"not permitted, where nothing confines the probe: {blamed}")
        if changed and cause:
            said = _words(report, changed)
            demand(any(words in said for words in cause), f"none of {cause} is named: {said}")
        if all(now[check] == "unknown" for check, each in self.checks.items() if each.gating):
            why = [check for check in _WHY_NOTHING if now[check] == "unknown"]
            said = _words(report, why)
            named = any(words in said for words in cause) if cause else why
            demand(named, f"nothing is known, and nobody says why: {said}")

    def _judge_filesystems(self, report: dict[str, Any], moved: Collection[str]) -> None:
        """Each row says what it always says, or nothing: and then so does its check."""
        now, rows = statuses(report), _tried(report)
        strange = {row["role"] for row in rows} - set(self.filesystems)
        demand(not strange, f"tried as what is not there otherwise: {strange}")
        for role, (fstype, result) in self.filesystems.items():
            mine = [row for row in rows if row["role"] == role]
            known = [row for row in mine if row["result"] != "unknown"]
            demand(known or now[f"filesystem-{role}"] == "unknown", f"{role} is judged without an attempt: {mine}")
            elsewhere = role in moved or "unknown" in (now[f"filesystem-{role}"], now.get(_TOLD_BY.get(role, "")))
            other = [row for row in known if row["result"] != result or (row["fstype"] != fstype and not elsewhere)]
            demand(not other, f"{role} is {fstype}, {result}, and not {other}")
            mute = [row for row in mine if row["result"] == "unknown" and not row["reason"]]
            demand(not mute, f"{role} is unknown without a reason: {mute}")

    def _judge_levels(self, report: dict[str, Any]) -> None:
        """The verdict and each level are what the findings make of them, whatever else the report says."""
        now = statuses(report)
        due = {
            level: _worst(now[check] for check, each in self.checks.items() if each.counts_at(level, now[check]))
            for level in LEVELS
        }
        demand(report["levels"] == due, f"levels {report['levels']}, but the findings say {due}")
        verdict = due["local"]  # volumes never decide the node's verdict
        demand(report["verdict"] == verdict, f"{report['verdict']}, but the findings say {verdict}")

    def _judge_nested(self, report: dict[str, Any]) -> None:
        """No level of nested containers is ready that is not when all is well, and none on a node that is not."""
        ready = _nested_ready(report)
        demand(ready <= self.nested, f"nested containers are ready that are not: {sorted(ready - self.nested)}")
        demand(not ready or report["verdict"] == "ready", f"nested containers on a node that is {report['verdict']}")


def statuses(report: dict[str, Any]) -> dict[str, str]:
    """Check -> status."""
    return {finding["id"]: finding["status"] for finding in report["findings"]}


def _nested_ready(report: dict[str, Any]) -> frozenset[str]:
    levels = (report.get("nested") or {}).get("levels", {})
    return frozenset(level for level, told in levels.items() if told["verdict"] == "ready")


def _worst(found: Collection[str] | Any) -> str:
    found = set(found)
    return "not-ready" if "fail" in found else "unknown" if "unknown" in found else "ready"


def _tried(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in report["filesystems"] if row["role"] != "volume"]


def _words(report: dict[str, Any], checks: Collection[str]) -> str:
    """What those findings say, with what they rest on."""
    said = [[each["message"], each["evidence"]] for each in report["findings"] if each["id"] in checks]
    return json.dumps(said, ensure_ascii=False)
