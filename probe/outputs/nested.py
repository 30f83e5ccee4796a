"""Rows of the Report's nested containers, for terminal and page, and as text."""

from __future__ import annotations

from msgspec import Struct

from probe.nested import NESTED_LEVELS, NestedLevel, PodRequest
from probe.outputs import view
from probe.outputs.text import Cell, Page, mark, spaced
from probe.outputs.workloads import WORKLOADS
from probe.report import STATUS_OF, Report
from probe.terms import Status

LEVEL_NAMES: dict[NestedLevel, str] = {
    "build": "builders as the Pod's root: buildah, BuildKit",
    "engine": "also dockerd with networks and limits",
    "system": "also systemd as process 1, k3s, kubeadm",
    "rootless": "engines as another user: podman",
    "inner-userns": "Pods inside with hostUsers: false",
}

_FIELDS = {
    "capability": "capability",
    "seccomp": "seccompProfile",
    "apparmor": "appArmorProfile",
    "selinux": "SELinux type",
    "proc-mount": "procMount",
    "escalation": "allowPrivilegeEscalation",
    "volume": "emptyDir on",
    "tmpfs": "emptyDir in memory on",
    "annotation": "annotation",
    "runtime-class": "runtimeClassName",
    "device": "device",
    "environment": "environment",
    "entrypoint": "entry script:",
    "subordinate-ids": "subordinate IDs",
    "file-capability": "file capability",
}


class NestedRow(Struct, frozen=True):
    """One level."""

    status: Status
    level: NestedLevel
    answer: str
    why: str
    """Reason and sentence of a level that is not ready, else what it is for."""
    pod: tuple[str, ...]
    """Requests that the Pod must make."""
    node: str
    """Changes that the node needs."""


def nested_rows(report: Report) -> list[NestedRow]:
    """A row for each level; none when each says no more than the node's verdict."""
    levels = report.nested.levels if report.nested else {}
    if all(one.reason and one.reason == report.reason for one in levels.values()):
        return []
    rows, said = [], {report.reason}
    for level in NESTED_LEVELS:
        if (one := levels.get(level)) is None:
            continue
        new = one.reason not in said
        said.add(one.reason)
        why = (f"{one.reason}: {one.message}" if new else one.reason) if one.reason else LEVEL_NAMES[level]
        pod = () if one.verdict == "not-ready" else tuple(map(request_words, one.pod))
        rows.append(NestedRow(STATUS_OF[one.verdict], level, spaced(one.verdict), why, pod, one.node if new else ""))
    return rows


def request_words(request: PodRequest) -> str:
    """`capability SYS_ADMIN`."""
    return f"{_FIELDS[request.field]} {request.value}"


def add_nested(page: Page, report: Report, verbose: int) -> None:
    """The levels; with *verbose*, also what the Pod must ask for, and each finding with its evidence."""
    rows = nested_rows(report)
    if not rows or report.nested is None:
        return
    page.heading(("NESTED", "bold"), "  containers inside a Pod; the verdict does not depend on it")
    table: list[list[Cell]] = [[mark(row.status), row.level, row.answer, (row.why, "dim")] for row in rows]
    page.table(table, marked=True)
    hint = f"The smallest Pod for each: userns-probe explain nested --for {'|'.join(WORKLOADS)}"
    page.line((hint, "dim"), indent=2)
    if not verbose:
        return
    for row in rows:
        if row.pod:
            page.table([[(f"{row.level} needs", "dim"), "; ".join(row.pod)]])
    for finding in report.nested.findings:
        page.table([[mark(finding.status), (finding.id, "bold"), finding.reason]], marked=True)
        page.line(finding.message, indent=4)
        if finding.remediation:
            page.remediation(("fix  ", "dim"), finding.remediation, 4)
        evidence: list[Cell] = [[view.evidence_words(one) for one in finding.evidence]]
        page.table([[("seen ", "dim"), *evidence]], 4)
