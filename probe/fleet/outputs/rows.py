"""The inventory as flat rows: NDJSON for engines that read many clusters and months, CSV for spreadsheets.

Each row has `record`, `cluster` and `taken_at`, and the columns of its kind; columns are added, never removed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from msgspec import Struct

from probe.fleet.inventory import Inventory
from probe.fleet.outputs.documents import encode
from probe.fleet.rows import Count, NodeRow, WorkloadRow
from probe.outputs.text import visible

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of a cell that a spreadsheet would execute, in full width too; control characters are escaped."""


class WorkloadLine(Struct, frozen=True, kw_only=True):
    """A workload."""

    record: str = "workload"
    cluster: str
    taken_at: str
    namespace: str
    kind: str
    name: str
    resolved: str
    list: str
    pods: int
    asking: int
    running_isolated: int
    confined: bool
    host_namespaces: str
    pools: str
    reachable: int
    reachable_runs: int
    reachable_fails: int
    reachable_unknown: int
    reason: str
    field: str
    message: str
    remediation: str
    source: str
    needs: str
    ease: int


class NodeLine(Struct, frozen=True, kw_only=True):
    """A node."""

    record: str = "node"
    cluster: str
    taken_at: str
    name: str
    pool: str
    verdict: str
    reason: str
    agent: str
    label: str
    os: str
    kernel: str
    kubelet: str
    runtime: str
    refused: str
    capacity: int | None
    agent_version: str
    attempts: float | None
    """None without evidence."""
    errors: float | None
    contradiction: bool | None


class NamespaceLine(Struct, frozen=True, kw_only=True):
    """A namespace."""

    record: str = "namespace"
    cluster: str
    taken_at: str
    name: str
    enforce: str
    warn: str
    audit: str
    pinned: bool
    relaxed: str
    safe: str
    workloads: int
    pods: int
    asking: int


class PolicyLine(Struct, frozen=True, kw_only=True):
    """A policy."""

    record: str = "policy"
    cluster: str
    taken_at: str
    kind: str
    namespace: str
    name: str
    effect: str
    actions: str
    scope: str


class SectionLine(Struct, frozen=True, kw_only=True):
    """Outcome of reading one section; a section that is not `read` lacks some or all rows."""

    record: str = "section"
    cluster: str
    taken_at: str
    name: str
    state: str
    objects: int
    skipped: int
    problem: str


Line = WorkloadLine | NodeLine | NamespaceLine | PolicyLine | SectionLine


def lines(inventory: Inventory) -> Iterator[Line]:
    """All rows."""
    cluster, taken_at = inventory.cluster, inventory.taken_at
    safe = {row.name: row.safe for row in inventory.enforcement if row.of == "namespace"}
    for section in inventory.sections:
        yield SectionLine(
            cluster=cluster, taken_at=taken_at, name=section.name, state=section.state,
            objects=section.objects, skipped=section.skipped, problem=section.problem,
        )  # fmt: skip
    yield from (_workload(row, cluster, taken_at) for row in inventory.workloads)
    yield from _nodes(inventory)
    for row in inventory.namespaces:
        fields = {name: getattr(row, name) for name in row.__struct_fields__}
        yield NamespaceLine(cluster=cluster, taken_at=taken_at, safe=safe.get(row.name, "unknown"), **fields)
    for policy in inventory.policies:
        yield PolicyLine(
            cluster=cluster, taken_at=taken_at, kind=policy.kind, namespace=policy.namespace, name=policy.name,
            effect=policy.effect, actions=",".join(policy.actions), scope="; ".join(policy.scope),
        )  # fmt: skip


def render_ndjson(inventory: Inventory) -> Iterator[str]:
    """A line of JSON for each row."""
    return (f"{encode(line)}\n" for line in lines(inventory))


def render_csv(inventory: Inventory) -> Iterator[str]:
    """The workloads, with a header; a cell that a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    names = WorkloadLine.__struct_fields__[1:]
    writer.writerow(names)
    for row in inventory.workloads:
        line = _workload(row, inventory.cluster, inventory.taken_at)
        writer.writerow([_cell(getattr(line, name)) for name in names])
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def _cell(value: object) -> str:
    """*value* with all that is not plainly visible escaped; see FORMULA."""
    text = visible(str(value))
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text


def _workload(row: WorkloadRow, cluster: str, taken_at: str) -> WorkloadLine:
    main = row.because[0] if row.because else None
    same = ("namespace", "kind", "name", "resolved", "list", "pods", "asking", "running_isolated", "confined", "ease")
    reachable = ("reachable", "reachable_runs", "reachable_fails", "reachable_unknown")
    return WorkloadLine(
        cluster=cluster,
        taken_at=taken_at,
        host_namespaces=",".join(row.host_namespaces),
        pools=_counts(row.pools),
        reason=main.reason if main else "",
        field=main.field if main else "",
        message=main.message if main else "",
        remediation=main.remediation if main else "",
        source=main.source if main else "",
        needs="; ".join(row.needs),
        **{name: getattr(row, name) for name in (*same, *reachable)},
    )


def _nodes(inventory: Inventory) -> Iterator[NodeLine]:
    evidence = {row.node: row for row in inventory.evidence}
    for row in inventory.nodes:
        said = evidence.get(row.name)
        yield NodeLine(
            cluster=inventory.cluster,
            taken_at=inventory.taken_at,
            refused=",".join(row.refused),
            attempts=said.attempts if said else None,
            errors=said.errors if said else None,
            contradiction=said.contradiction if said else None,
            **{name: getattr(row, name) for name in NodeRow.__struct_fields__ if name != "refused"},
        )


def _counts(counts: tuple[Count, ...]) -> str:
    return ",".join(f"{one.value}={one.nodes}" for one in counts)
