"""Judges what a guest observed: whether the real command predicted what then really happened.

The truth is what OCI runtimes did in the same guest, and never typed in here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.kernels.filesystems import OVERLAY_LAYERS
from tests.kernels.scenarios import ALONE, CONFINED

Documents = Sequence[Mapping[str, Any]]
"""What a guest printed."""

WORKS = "works"
EXIT_CODES = {"ready": 0, "not-ready": 1, "unknown": 2}
NEEDED = {
    "RuntimeRootNotIdmappable": "kubelet-root",  # in a guest both lie on one disk
    "OverlayLayersNotIdmappable": OVERLAY_LAYERS,
    "KubeletRootNotIdmappable": "kubelet-root",
    "TmpfsNotIdmappable": "tmpfs",
}
"""Reason of a node that is not ready -> row that tells the truth of it, in the order in which they are checked."""


@dataclass(frozen=True)
class FilesystemRow:
    """A volume on one file system."""

    name: str
    predicted: str  # supported, refused or unknown
    why: str  # in the command's words
    truth: dict[str, str]  # OCI runtime -> WORKS, or its own words
    agrees: bool


@dataclass(frozen=True)
class ScenarioRow:
    """A report made in one scenario."""

    name: str
    verdict: str
    reason: str
    expected: str  # what the truth allows
    problems: tuple[str, ...]  # what it says that is not so

    @property
    def agrees(self) -> bool:
        """Whether it says nothing wrong."""
        return not self.problems

    @property
    def words(self) -> str:
        """Verdict and reason."""
        return f"{self.verdict} {self.reason}".strip()


@dataclass(frozen=True)
class Judged:
    """All that was observed on one kernel."""

    filesystems: tuple[FilesystemRow, ...] = ()
    scenarios: tuple[ScenarioRow, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)  # row -> why this kernel does not have it
    problems: tuple[str, ...] = ()  # of the observation itself


def judge(documents: Documents) -> Judged:
    """Every row and every scenario of a guest."""
    reports = {each["scenario"]: each for each in documents if "scenario" in each and "stdout" in each}
    truths = _truths(documents)
    filesystems = [*_of_paths(documents, truths), *_of_layers(reports, truths)]
    scenarios = [_judge_report(each, documents, truths) for each in reports.values()]
    problems = [f"{each['scenario']}: {each['stderr']}" for each in reports.values() if each["stderr"]]
    left = set(truths) - {row.name for row in filesystems}
    if left:
        problems.append(f"nothing was predicted of {', '.join(sorted(left))}")
    absent = {each["row"]: each["missing"] for each in documents if "missing" in each}
    return Judged(tuple(filesystems), tuple(scenarios), absent, tuple(problems))


def _truths(documents: Documents) -> dict[str, dict[str, str]]:
    """Row -> what each OCI runtime did with it."""
    truths: dict[str, dict[str, str]] = {}
    for each in documents:
        if "row" in each and "runtime" in each:
            truths.setdefault(each["row"], {})[each["runtime"]] = _truth(each)
    return truths


def _truth(container: Mapping[str, Any]) -> str:
    """Works: it started, and the owner of the volume is root in it, too."""
    if not container["started"]:
        return str(container["error"])
    owner = container["owner_seen"]
    return WORKS if owner == 0 else f"started, and the volume's owner is {owner} in it"


def _works(truths: Mapping[str, Mapping[str, str]], row: str) -> bool:
    """A row that could not be made needs what this kernel does not have."""
    return row in truths and set(truths[row].values()) == {WORKS}


def _of_paths(documents: Documents, truths: Mapping[str, dict[str, str]]) -> Iterator[FilesystemRow]:
    for each in documents:
        if "paths" in each:
            predictions = json.loads(each["stdout"])
            for name, predicted in zip(each["paths"], predictions, strict=True):
                if name != OVERLAY_LAYERS:  # which are no volume
                    yield _row(name, predicted, truths)


def _of_layers(reports: Mapping[str, Any], truths: Mapping[str, dict[str, str]]) -> Iterator[FilesystemRow]:
    if "plain" in reports and OVERLAY_LAYERS in truths:
        rows = json.loads(reports["plain"]["stdout"])["filesystems"]
        yield from (_row(OVERLAY_LAYERS, row, truths) for row in rows if row["role"] == OVERLAY_LAYERS)


def _row(name: str, predicted: Mapping[str, Any], truths: Mapping[str, dict[str, str]]) -> FilesystemRow:
    agrees = predicted["result"] == ("supported" if _works(truths, name) else "refused")
    return FilesystemRow(name, predicted["result"], predicted["reason"], truths.get(name, {}), agrees)


def _judge_report(
    observed: Mapping[str, Any], documents: Documents, truths: Mapping[str, dict[str, str]]
) -> ScenarioRow:
    name, report = observed["scenario"], json.loads(observed["stdout"])
    verdict, reason = report["verdict"], report["reason"]
    problems = list(_untrue(report, observed["code"]))
    if name in CONFINED:
        expected = "unknown"
        problems += _claims(report)
    else:
        expected = _expected(name, documents, truths)
        if f"{verdict} {reason}".strip() != expected:
            problems.append(f"{expected} was expected")
        trial = _status(report, "runtime-trial")
        if name == "--try-runtime" and (trial == "pass") != (expected == "ready"):
            problems.append(f"the trial's outcome is {trial}")
    return ScenarioRow(name, verdict, reason, expected, tuple(problems))


def _expected(name: str, documents: Documents, truths: Mapping[str, dict[str, str]]) -> str:
    """The verdict of a node that the probe may try, from what containers could do there."""
    plain = [each["started"] for each in documents if each.get("scenario") == name and "runtime" in each]
    if name in ALONE and not all(plain):
        return "not-ready UserNamespacesDisabled"
    lacking = [reason for reason, row in NEEDED.items() if not _works(truths, row)]
    return f"not-ready {lacking[0]}" if lacking else "ready"


def _untrue(report: Mapping[str, Any], code: int) -> Iterator[str]:
    """What is wrong wherever it is said."""
    if code != EXIT_CODES[report["verdict"]]:
        yield f"the exit code is {code}"
    for row in report["filesystems"]:
        if row["result"] == "supported" and row["step"] != "done":
            yield f"{row['role']} is supported, and was not tried"


def _claims(report: Mapping[str, Any]) -> Iterator[str]:
    """What a probe says that may not try everything, and cannot know."""
    if report["verdict"] != "unknown":
        yield f"the verdict is {report['verdict']}"
    for name, level in report["levels"].items():
        if level != "unknown":
            yield f"level {name} is {level}"
    for row in report["filesystems"]:
        if row["result"] != "unknown":
            yield f"{row['role']} is {row['result']}"
    for finding in report["findings"]:
        if finding["status"] == "fail":
            yield f"{finding['id']} fails"
    if _status(report, "probe-privileges") == "pass":
        yield "the probe may do all that it needs"


def _status(report: Mapping[str, Any], check: str) -> str:
    return next(str(finding["status"]) for finding in report["findings"] if finding["id"] == check)
