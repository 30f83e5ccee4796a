"""Judges what a guest observed: whether the real command predicted what then really happened.

What the truth is, truth.py says; what of a report is judged, reports.py does.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.kernels.filesystems import CORE, MADE_BY_IDMAPPING, OVERLAY_LAYERS
from lab.kernels.reports import ScenarioRow, judge_report, path_problems, result_of
from lab.kernels.scenarios import FREE
from lab.kernels.truth import Documents, Truths, doubts, truths


@dataclass(frozen=True)
class FilesystemRow:
    """A volume on one file system."""

    name: str
    predicted: str  # supported, refused or unknown
    why: str  # in the command's words
    truth: dict[str, str]  # OCI runtime -> truth.WORKS, or its own words
    agrees: bool


@dataclass(frozen=True)
class Judged:
    """All that was observed on one kernel."""

    filesystems: tuple[FilesystemRow, ...] = ()
    scenarios: tuple[ScenarioRow, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)  # row -> why this kernel does not have it
    problems: tuple[str, ...] = ()  # of the observation itself
    again: int = 0  # how often a report was asked for once more, as the machine was too slow for the first


def judge(documents: Documents) -> Judged:
    """Every row and every scenario of a guest."""
    mute = [each for each in documents if "stdout" in each and not _is_json(each["stdout"])]
    documents = [each for each in documents if each not in mute]
    reports = {each["scenario"]: each for each in documents if "stdout" in each and "paths" not in each}
    told = truths(documents)
    filesystems = [*_of_paths(documents, told), *_of_layers(reports, told)]
    scenarios = [judge_report(each, documents, told) for each in reports.values()]
    absent = {each["row"]: each["missing"] for each in documents if "missing" in each}
    problems = [f"{_what(each)}: exit code {each['code']}: {each['stderr']}" for each in mute]
    problems += [f"{each['scenario']}: {each['stderr']}" for each in reports.values() if each["stderr"]]
    problems += [line for each in documents if "paths" in each and not each["scenario"] for line in path_problems(each)]
    problems += [f"{each['row']}: {each['broken']}" for each in documents if "broken" in each]
    problems += [
        f"{name}: no kernel is without it, and here {why} is missing"
        for name, why in absent.items()
        if name in CORE and not (name in MADE_BY_IDMAPPING and os.strerror(errno.ENOSYS) in why)
    ]
    problems += doubts(documents)
    if left := set(told) - {row.name for row in filesystems}:
        problems.append(f"nothing was predicted of {', '.join(sorted(left))}")
    again = sum(each.get("again", 0) for each in documents)
    return Judged(tuple(filesystems), tuple(scenarios), absent, tuple(problems), again)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _what(document: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (document["scenario"], "path" if "paths" in document else "report")))


def _of_paths(documents: Documents, truths: Truths) -> Iterator[FilesystemRow]:
    for each in documents:
        if "paths" in each and not each["scenario"]:
            predictions = json.loads(each["stdout"])
            for name, predicted in zip(each["paths"], predictions, strict=True):
                if name != OVERLAY_LAYERS:  # which are no volume
                    yield _row(name, predicted, truths)


def _of_layers(reports: Mapping[str, Any], truths: Truths) -> Iterator[FilesystemRow]:
    free = next((reports[name] for name in FREE if name in reports), None)
    if free and OVERLAY_LAYERS in truths:
        rows = json.loads(free["stdout"])["filesystems"]
        yield from (_row(OVERLAY_LAYERS, row, truths) for row in rows if row["role"] == OVERLAY_LAYERS)


def _row(name: str, predicted: Mapping[str, Any], truths: Truths) -> FilesystemRow:
    agrees = name in truths and predicted["result"] == result_of(truths, name)
    return FilesystemRow(name, predicted["result"], predicted["reason"], dict(truths.get(name, {})), agrees)
