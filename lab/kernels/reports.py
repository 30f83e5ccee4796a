"""Judges what the real command said in each scenario, of the node and of volumes, by the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.kernels.filesystems import OVERLAY_LAYERS
from lab.kernels.scenarios import ALONE, CIRCUMSTANCES, CONFINED
from lab.kernels.truth import Documents, Truths, plain_containers_start, works

EXIT_CODES = {"ready": 0, "not-ready": 1, "unknown": 2}
NEEDED = {
    "RuntimeRootNotIdmappable": "kubelet-root",  # in a guest both lie on one disk
    "OverlayLayersNotIdmappable": OVERLAY_LAYERS,
    "KubeletRootNotIdmappable": "kubelet-root",
    "TmpfsNotIdmappable": "tmpfs",
}
"""Reason of a node that is not ready -> row that tells the truth of it, in the order in which they are checked."""
BOUND = ("kubelet-root", "tmpfs")
"""Rows that the trial of the runtime binds."""


@dataclass(frozen=True)
class ScenarioRow:
    """What was said in one scenario."""

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


def judge_report(observed: Mapping[str, Any], documents: Documents, truths: Truths) -> ScenarioRow:
    """The report *observed*, and in a scenario where the probe is confined, its words on volumes."""
    name, report = observed["scenario"], json.loads(observed["stdout"])
    verdict, reason = report["verdict"], report["reason"]
    problems = list(_untrue(report, observed["code"]))
    if name in CONFINED:
        expected = "unknown NotPermitted"
        problems += _claims(name, report)
        problems += _claims_of_volumes(name, documents, truths) if observed["paths_asked"] else ()
    else:
        expected = _expected(name, documents, truths)
        problems += _trials(name, report, documents, truths)
    if f"{verdict} {reason}".strip() != expected:
        problems.append(f"{expected} was expected")
    return ScenarioRow(name, verdict, reason, expected, tuple(problems))


def path_problems(document: Mapping[str, Any]) -> Iterator[str]:
    """How `path` ended: with the code of the worst row, and without a word beside the rows."""
    results = {row["result"] for row in json.loads(document["stdout"])}
    code = 1 if "refused" in results else 2 if "unknown" in results else 0
    if document["code"] != code:
        yield f"path: the exit code is {document['code']}, and not {code}"
    if document["stderr"]:
        yield f"path: {document['stderr']}"


def _expected(name: str, documents: Documents, truths: Truths) -> str:
    """The verdict of a node that the probe may try, from what containers could do there."""
    if name in ALONE and not all(plain_containers_start(documents, name)):
        return "not-ready UserNamespacesDisabled"
    lacking = [reason for reason, row in NEEDED.items() if not works(truths, row)]
    return f"not-ready {lacking[0]}" if lacking else "ready"


def _untrue(report: Mapping[str, Any], code: int) -> Iterator[str]:
    """What is wrong wherever it is said."""
    if code != EXIT_CODES[report["verdict"]]:
        yield f"the exit code is {code}"
    for row in report["filesystems"]:
        if row["result"] == "supported" and row["step"] != "done":
            yield f"{row['role']} is supported, and was not tried"


def _trials(name: str, report: Mapping[str, Any], documents: Documents, truths: Truths) -> Iterator[str]:
    """What it found when it tried a sandbox and a runtime; either fails where it cannot be made."""
    starts = plain_containers_start(documents, name if name in ALONE else "")
    if len(set(starts)) != 1:
        yield "containers start with some runtimes only" if starts else "no container was tried"
    trial = "skipped"  # as nobody asked for it
    if name == "--try-runtime":
        trial = "pass" if all(works(truths, row) for row in BOUND) else "fail"
    wanted = {"sandbox-trial": "pass" if starts and all(starts) else "fail", "runtime-trial": trial}
    for check, status in wanted.items():
        said = _finding(report, check)["status"]
        if said != status:
            yield f"{check} is {said}, and not {status}"
    if "veth" in _finding(report, "sandbox-trial")["message"]:
        yield "the sandbox was tried without a network"


def _claims(name: str, report: Mapping[str, Any]) -> Iterator[str]:
    """What a probe says that may not try everything, and cannot know; and whether it knows what confines it."""
    for level, verdict in report["levels"].items():
        if verdict != "unknown":
            yield f"level {level} is {verdict}"
    for row in report["filesystems"]:
        if row["result"] != "unknown":
            yield f"{row['role']} is {row['result']}"
    for finding in report["findings"]:
        if finding["status"] == "fail":
            yield f"{finding['id']} fails"
    privileges = _finding(report, "probe-privileges")
    if privileges["status"] == "pass":
        yield "the probe has all required privileges"
    circumstance = next(words for begin, words in CIRCUMSTANCES.items() if name.startswith(begin))
    if circumstance not in privileges["message"]:
        yield f"it does not say that it is confined by: {circumstance}"


def _claims_of_volumes(name: str, documents: Documents, truths: Truths) -> Iterator[str]:
    """What it says there of a volume, and is not so; unknown is never wrong."""
    said = [each for each in documents if "paths" in each and each["scenario"] == name]
    if not said:
        yield "path was not tried"
    for each in said:
        yield from path_problems(each)
        for volume, row in zip(each["paths"], json.loads(each["stdout"]), strict=True):
            if volume != OVERLAY_LAYERS and row["result"] not in ("unknown", result_of(truths, volume)):
                yield f"path: {volume} is {row['result']}"


def result_of(truths: Truths, row: str) -> str:
    """What has to be said of it, by whoever may try everything."""
    return "supported" if works(truths, row) else "refused"


def _finding(report: Mapping[str, Any], check: str) -> Mapping[str, Any]:
    return next(finding for finding in report["findings"] if finding["id"] == check)
