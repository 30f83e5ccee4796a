"""Judgements of Pods, for people and for machines."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from msgspec import Struct

from probe.outputs.documents import schema_of
from probe.outputs.text import FEW, STYLES, Page, Part, mark
from probe.pod.manifests import Workload
from probe.pod.model import WORST_FIRST, Judgement, Node, Note, Origin, Outcome, Reason
from probe.terms import Level, Status

SCHEMA: Literal["userns-probe.io/pods/v1"] = "userns-probe.io/pods/v1"

_STATUS: dict[Outcome, Status] = {"refused": "fail", "fails": "fail", "unknown": "unknown", "runs": "pass"}
_WORDS: dict[Outcome, str] = {
    "refused": "refused by the API server", "fails": "fails", "unknown": "unknown", "runs": "runs",
}  # fmt: skip
_SOURCES: dict[Origin, str] = {
    "tried": "tried on the node",
    "kernel-and-driver": "by kernel and driver, not tried",
    "rule": "by the rules of Kubernetes",
    "unknown": "unknown",
}


class NodeRow(Struct, frozen=True, kw_only=True):
    """The node that Pods are judged for."""

    name: str
    told_by: Literal["probe", "report", "annotations"]
    as_of: str
    """RFC 3339: when it was probed, or published; empty when nothing had to be known of it."""


class PodRow(Struct, frozen=True, kw_only=True):
    """An object that makes Pods, and what becomes of them."""

    file: str
    document: int
    kind: str
    namespace: str
    name: str
    outcome: Outcome
    asks: bool
    level: Level | None
    source: Origin
    reasons: tuple[Reason, ...]
    notes: tuple[Note, ...]


class Pods(Struct, frozen=True, kw_only=True):
    """All that `userns-probe pod` says."""

    schema: Literal["userns-probe.io/pods/v1"] = SCHEMA
    node: NodeRow
    pods: tuple[PodRow, ...]
    problems: tuple[str, ...]
    """Of documents that could not be read."""


def pod_row(workload: Workload, judgement: Judgement | None) -> PodRow:
    """The row of *workload*; without a judgement its problem is all that is known."""
    problem = workload.problem
    said = judgement or Judgement(
        outcome="unknown",
        asks=False,
        level=None,
        source="unknown",
        reasons=(problem,) if problem else (),
        notes=(),
    )
    return PodRow(
        file=workload.file,
        document=workload.document,
        kind=workload.kind,
        namespace=workload.namespace,
        name=workload.name,
        outcome=said.outcome,
        asks=said.asks,
        level=said.level,
        source=said.source,
        reasons=said.reasons,
        notes=said.notes,
    )


def node_row(node: Node, as_of: str) -> NodeRow:
    """The row of *node*."""
    return NodeRow(name=node.name, told_by=node.told_by, as_of=as_of)


def render_pods(pods: Pods, *, width: int | None, colour: bool, verbose: int = 0) -> str:
    """A line for each object that makes Pods, below it what decides, and what to change; the sum at the end."""
    page = Page(width=width, colour=colour, limit=4000)
    told: set[str] = set()
    for row in pods.pods:
        _add_pod(page, row, verbose, told)
    if len(pods.pods) > 1:
        found = Counter(row.outcome for row in pods.pods)
        counts = [f"{found[outcome]} {_WORDS[outcome]}" for outcome in WORST_FIRST if found[outcome]]
        page.heading((", ".join(counts), "bold"))
    if any(row.level for row in pods.pods):
        page.heading((_basis(pods.node), "dim"))
    return str(page)


def pods_schema() -> dict[str, Any]:
    """The JSON Schema of Pods."""
    return schema_of(SCHEMA, Pods)


def _add_pod(page: Page, row: PodRow, verbose: int, told: set[str]) -> None:
    status = _STATUS[row.outcome]
    name = f"{row.namespace}{row.namespace and '/'}{row.name}" or "(no name)"
    words: list[Part] = [(_WORDS[row.outcome], f"bold {STYLES[status]}")]
    if row.outcome == "runs":
        words = [*words, (f" ({_SOURCES[row.source] if row.level else 'with the users of the node'})", "dim")]
    page.line(mark(status), f" {row.kind} {name}  ", *words)
    reasons = [one for one in row.reasons if verbose or one.outcome != "runs" or one.source == "kernel-and-driver"]
    for one in reasons if verbose else reasons[:FEW]:
        _add_reason(page, one, told)
    if len(reasons) > FEW and not verbose:
        page.line(f"and {len(reasons) - FEW} more (-v)", indent=4)
    for note in row.notes if verbose else ():
        page.table([[("note", "dim"), (note.field, "bold"), note.message]], indent=4)


def _add_reason(page: Page, one: Reason, told: set[str]) -> None:
    """The field, what it leads to and its source; the remediation the first time that it is needed."""
    style = STYLES[_STATUS[one.outcome]]
    page.line((one.field, style), indent=4)
    source = f" ({_SOURCES[one.source]})" if one.source != "unknown" else ""
    page.line(one.message, (source, "dim"), indent=6)
    if not one.remediation:
        return
    if one.remediation in told and "\n" in one.remediation:
        page.line(("fix", "dim"), " as above", indent=6)
    else:
        page.remediation(("fix", "dim"), one.remediation, indent=6)
    told.add(one.remediation)


def _basis(node: NodeRow) -> str:
    name = node.name or "this node"
    by = {"probe": "probed at", "report": "by its report of", "annotations": "by its annotations of"}[node.told_by]
    return f"{name}, {by} {node.as_of or 'an unknown time'}"
