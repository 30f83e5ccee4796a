"""A Node from a Report, of this machine or of another, or from what the agent published on the Node object.

What each can know differs: a report has the reason of each level and what was tried of volumes; annotations have the
levels of the default handler and no volumes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from probe.finding import Finding
from probe.pod.model import Answer, Hazard, HostNetwork, Node
from probe.pod.scheduling import MACHINES
from probe.report import FilesystemRow, HandlerVerdict, Report
from probe.terms import LEVELS, Level, Status
from probe.verdict import Verdict, conclude

PREFIX = "userns-probe.io/"
POD_LEVELS: tuple[Level, ...] = ("stateless", "projected", "local")
"""Levels of the node; what its volumes can do is judged for each volume."""

CONTRADICTION = "the agent's annotations are malformed or contradict each other"
_NOT_PUBLISHED = "the agent has published nothing about it on this Node"
_HAZARDS = ("hazard-device-hooks", "hazard-image-volumes")
_ALL_IDS = 1 << 32
_WORSE = ("ready", "unknown", "not-ready")
_NUMBER = re.compile(r"[0-9]{1,10}")


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


def node_of_annotations(
    annotations: Mapping[str, str],
    *,
    name: str = "",
    boot_id: str = "",
    kernel_release: str = "",
    kubelet_version: str = "",
    runtime: str = "",
    offered: Mapping[str, bool | None] = {},
    declared_features: tuple[str, ...] | None = None,
) -> Node:
    """The Node that the agent's *annotations* tell of, with what the kubelet says in `.status`.

    *Shape*: *runtime* is `.status.nodeInfo.containerRuntimeVersion`; *offered* has the name of each of
    `.status.runtimeHandlers` and its `features.userNamespaces`. Annotations of another boot than *boot_id*, malformed
    or missing, count as unknown. Whether they are too old is for the caller to say, who has a clock.
    """
    own = {key.removeprefix(PREFIX): value for key, value in annotations.items() if key.startswith(PREFIX)}
    if boot_id and own.get("boot-id") != boot_id:
        own = {}
    levels = _pairs(own.get("levels", ""))
    if levels and contradicts(own.get("verdict", ""), levels):
        levels, own = {}, own | {"reason": "Malformed", "message": CONTRADICTION}
    default = _from_levels(levels, own.get("reason", ""), own.get("message", "") or _NOT_PUBLISHED)
    handlers = {handler: _offered(handler, able) for handler, able in offered.items()}
    if offered.get("") is not False:
        handlers[""] = default
    runtime_name, _, runtime_version = runtime.partition("://")
    ids = _pairs(own.get("id-range", "")).get("ids-per-pod", "")
    return Node(
        told_by="annotations",
        name=name,
        handlers=handlers,
        handlers_complete=bool(offered),
        oci_runtimes=_oci_runtimes(own.get("oci-runtimes", "")),
        kernel_release=kernel_release,
        kubelet_version=kubelet_version,
        runtime_name=runtime_name,
        runtime_version=runtime_version,
        ids_per_pod=int(ids) if _NUMBER.fullmatch(ids) and int(ids) <= _ALL_IDS else None,
        declared_features=declared_features,
        hazards=_hazards(own.get("report", "")),
    )


def contradicts(verdict: str, levels: Mapping[str, str]) -> bool:
    """True when the annotations `verdict` and `levels` do not agree; `conclude` gives only those that do.

    The verdict is that of the last of POD_LEVELS, and no level is better than the one before, which it includes.
    """
    said = [levels.get(level, "") for level in POD_LEVELS]
    ranks = [_WORSE.index(one) if one in _WORSE else -1 for one in said]
    return -1 in ranks or ranks != sorted(ranks) or said[-1] != verdict


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
        return Answer(verdict="ready") if explained else _unknown(report.reason, report.message)
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
    answers = _from_levels(
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


def _from_levels(levels: Mapping[str, str], reason: str, message: str) -> dict[Level, Answer]:
    """Answers for each level alone from *levels*, of which each includes the ones before."""
    answers: dict[Level, Answer] = {}
    hidden = False
    for level in POD_LEVELS:
        said: str = levels.get(level, "unknown")
        if said == "ready" and not hidden:
            answers[level] = Answer(verdict="ready")
        elif said == "not-ready" and not hidden:
            answers[level] = Answer(verdict="not-ready", reason=reason, message=message)
        else:
            answers[level] = _unknown(reason, message)
        hidden = hidden or said != "ready"
    return answers


def _offered(handler: str, able: bool | None) -> dict[Level, Answer]:
    """Weighs the kubelet's own claim about a handler: a denial holds, support is only claimed."""
    if able is False:
        message = "the kubelet says that " + (
            f"the handler {handler} does" if handler else "the default handler of this container runtime does"
        )
        answer = Answer(
            verdict="not-ready", reason="HandlerWithoutUserNamespaces", message=f"{message} not support user namespaces"
        )
    else:
        answer = _unknown("NotTried", f"{_NOT_PUBLISHED}: annotations tell of the default handler only")
    return dict.fromkeys(POD_LEVELS, answer)


def _unknown(reason: str, message: str) -> Answer:
    return Answer(verdict="unknown", reason=reason or "NotTried", message=message or _NOT_PUBLISHED)


def _pairs(text: str) -> dict[str, str]:
    """`key=value,key=value`; malformed ones are left out."""
    return dict(tuple(pair.split("=", 1)) for pair in text.split(",") if "=" in pair)  # type: ignore[misc]


def _oci_runtimes(text: str) -> dict[str, str]:
    """`(default)=runc/1.3.6,crun=crun/1.28`."""
    return {
        "" if handler == "(default)" else handler: runtime.partition("/")[0]
        for handler, runtime in _pairs(text).items()
        if runtime != "unknown"
    }


class _Found(msgspec.Struct):
    id: str
    status: Status


class _Summary(msgspec.Struct):
    verdict: Verdict
    findings: tuple[_Found, ...]
    omitted: int = 0


def _hazards(text: str) -> dict[str, Hazard]:
    """Hazards of the `report` annotation, which lists what is not pass, unless it says that something was omitted."""
    try:
        summary = msgspec.json.decode(text, type=_Summary)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    found = {one.id: Hazard(status=one.status) for one in summary.findings if one.id.startswith("hazard-")}
    return found if summary.omitted else dict.fromkeys(_HAZARDS, Hazard(status="pass")) | found
