"""A Node from a Report of this machine or of another: it has the reason of each level, and what was tried of volumes.

`annotations` makes one from what the agent published on the Node object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from probe.finding import Finding
from probe.pod.annotations import answers_of_levels, unknown_answer
from probe.pod.model import POD_LEVELS, Answer, Hazard, HostNetwork, Node
from probe.pod.scheduling import MACHINES
from probe.report import FilesystemRow, HandlerVerdict, Report
from probe.terms import LEVELS, Level
from probe.verdict import conclude


def node_of_report(
    report: Report,
    told_by: Literal["probe", "report"] = "report",
    mounts: Iterable[FilesystemRow] = (),
    above: Mapping[str, FilesystemRow] = {},
    file_types: Mapping[str, int] = {},
) -> Node:
    """The Node that *report* tells of; *mounts* are further paths that were tried there; the others as in `Node`."""
    facts = report.facts
    default = {level: _answer(report, level) for level in POD_LEVELS}
    others = {row.name: _handler(row, report) for row in report.handlers if row.name}
    return Node(
        told_by=told_by,
        name=report.node.name or report.node.hostname,
        os="linux",
        architecture=MACHINES.get(facts.architecture, ""),
        handlers={**others, "": default},
        handlers_complete=bool(report.handlers),
        oci_runtimes={row.handler: row.name for row in facts.oci_runtimes if row.name},
        kernel_release=facts.kernel_release,
        kubelet_version=facts.kubelet_version,
        runtime_name=facts.runtime_name,
        runtime_version=facts.runtime_version,
        ids_per_pod=report.id_ranges[0].ids_per_pod if report.id_ranges else None,
        host_network={
            row.handler: HostNetwork(claimed=row.host_network_claimed, supported=row.host_network_supported)
            for row in facts.oci_runtimes
        },
        volumes=report.volumes,
        mounts={row.path: row for row in mounts if row.path},
        above=dict(above),
        file_types=dict(file_types),
        mounted=_by_volume(report.filesystems),
        devices=report.devices,
        hazards={
            one.id: Hazard(status=one.status, message=one.message, remediation=one.remediation)
            for one in report.findings
            if one.id.startswith("hazard-")
        },
    )


def stale_node(report: Report) -> Node:
    """The Node of a *report* that has expired: nothing that it said counts, only its name."""
    message = f"the report is of {report.probed_at}, and counted until {report.expires_at}"
    answer = Answer(verdict="unknown", reason="ReportStale", message=message, remediation="probe the node again")
    return Node(
        told_by="report",
        name=report.node.name or report.node.hostname,
        handlers={"": dict.fromkeys(POD_LEVELS, answer)},
    )


def _by_volume(rows: Iterable[FilesystemRow]) -> dict[tuple[str, str], list[FilesystemRow]]:
    """Rows by the kubelet's directory: (`kubernetes.io~csi`, `pvc-1`) of `…/volumes/kubernetes.io~csi/pvc-1/mount`."""
    found: dict[tuple[str, str], list[FilesystemRow]] = {}
    for row in rows:
        plugin, _, rest = (row.path or "").partition("/volumes/")[2].partition("/")
        if row.role == "volume" and (name := rest.partition("/")[0]):
            found.setdefault((plugin, name), []).append(row)
    return found


def _answer(report: Report, level: Level) -> Answer:
    """The answer of *report* for one level alone: a Pod without a token does not fail for tmpfs."""
    said = report.levels.get(level)
    if said == "ready":
        return Answer(verdict="ready")
    before = [report.levels.get(one) for one in LEVELS[: LEVELS.index(level)]]
    found = [finding for finding in report.findings if finding.level == level]
    alone = conclude(found)
    if alone.verdict == "ready":
        explained = bool(found) and said is not None and any(one not in ("ready", None) for one in before)
        return Answer(verdict="ready") if explained else unknown_answer(report.reason, report.message)
    decisive = next((one for one in found if (one.reason, one.message) == (alone.reason, alone.message)), None)
    return Answer(
        verdict=alone.verdict,
        reason=alone.reason,
        message=alone.message,
        remediation=decisive.remediation if decisive else "",
    )


def _handler(row: HandlerVerdict, report: Report) -> dict[Level, Answer]:
    """Levels of a handler other than the default one; those of an older report are known only where all are ready."""
    remedies = {finding.reason: finding for finding in report.findings if finding.reason}
    answers = answers_of_levels(
        row.levels or (dict.fromkeys(POD_LEVELS, "ready") if row.verdict == "ready" else {}),
        row.reason,
        _message(row, remedies.get(row.reason)),
    )
    cause = remedies.get(row.reason)
    if cause is None:
        return answers
    return {
        level: msgspec.structs.replace(answer, remediation=cause.remediation) if answer.verdict != "ready" else answer
        for level, answer in answers.items()
    }


def _message(row: HandlerVerdict, cause: Finding | None) -> str:
    return cause.message if cause else f"handler {row.name}: {row.verdict} {row.reason}"
