"""Takes the inventory of a cluster: reads it, judges it, counts it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from msgspec import Struct

from probe import __version__
from probe.fleet import enforce, namespaces, policies
from probe.fleet.ask import Judge
from probe.fleet.evidence import evidence_rows, query
from probe.fleet.forbidden import forbidden, forbids
from probe.fleet.gather import Cluster, Progress, gather, problem_of, read_version
from probe.fleet.inventory import Inventory, Section, Summary
from probe.fleet.kinds import POLICY_KINDS
from probe.fleet.rows import (
    LISTS,
    Count,
    EnforceRow,
    EvidenceRow,
    Lists,
    NamespaceRow,
    NodeRow,
    PolicyRow,
    PoolRow,
    WorkloadRow,
)
from probe.fleet.server import connect
from probe.fleet.workloads import workload_rows
from probe.outputs.labels import shown
from probe.publish.api.interface import Access, Failure

SKEW = 60.0
"""Seconds by which this machine's clock may differ from the API server's before it is mentioned."""
TOP = 8
"""Values that are counted by name; the others together."""


class Options(Struct, frozen=True, kw_only=True):
    """The objects to take the inventory of."""

    access: Access
    cluster: str = ""
    pool_label: str = ""
    namespace: str = ""
    prometheus: str = ""


def take(
    options: Options,
    progress: Progress = lambda name, done, left: None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Inventory:
    """The inventory. *Errors*: Failure, when there are no credentials or no API server."""
    began = time.monotonic()
    with connect(options.access, sleep) as server:
        version = read_version(server)
        here = clock()
        now = server.clock if server.clock is not None else here
        cluster = gather(server, now, options.pool_label, options.namespace, progress)
        cluster.server_version = version
        name = options.cluster or server.name
    found, section = _evidence(options.prometheus, cluster.nodes.rows)
    return _inventory(
        options, name, cluster, found, (*cluster.sections, *section), now, here - now, time.monotonic() - began
    )


def _evidence(url: str, nodes: list[NodeRow]) -> tuple[tuple[EvidenceRow, ...], tuple[Section, ...]]:
    if not url:
        return (), (Section(name="prometheus", state="unknown", problem="not asked: name it with --prometheus"),)
    try:
        samples = query(url)
    except Failure as failure:
        return (), (Section(name="prometheus", state="unknown", problem=problem_of(failure)),)
    known = {row.name for row in nodes}
    others = len({node for node, _, _ in samples} - known)
    problem = f"{others} series are of nodes that are not in this cluster" if others else ""
    section = Section(name="prometheus", state="read", objects=len(samples), skipped=others, problem=problem)
    return evidence_rows(samples, nodes), (section,)


def _inventory(
    options: Options,
    name: str,
    cluster: Cluster,
    evidence: tuple[EvidenceRow, ...],
    sections: tuple[Section, ...],
    now: float,
    skew: float,
    seconds: float,
) -> Inventory:
    nodes, fold, owners = cluster.nodes, cluster.fold, cluster.owners
    workloads = tuple(workload_rows(fold, owners, nodes, Judge(nodes, cluster.handlers, cluster.classes)))
    version = namespaces.version_of(cluster.server_version)
    spaces = namespaces.namespace_rows(cluster.namespaces, version, list(workloads))
    rules = policies.policy_rows(cluster.policies, cluster.bindings)
    pools = pool_rows(nodes.rows)
    rows = tuple(sorted(nodes.rows, key=lambda row: row.name))
    return Inventory(
        agent_version=__version__,
        cluster=shown(name, 120),
        server_version=cluster.server_version,
        namespace=shown(options.namespace, 120),
        taken_at=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        seconds=round(seconds, 2),
        clock_skew_seconds=round(skew, 1) if abs(skew) > SKEW else 0.0,
        sections=sections,
        summary=_summary(rows, workloads, spaces, rules, evidence),
        pools=pools,
        nodes=rows,
        workloads=workloads,
        namespaces=spaces,
        policies=rules,
        enforcement=_enforcement(cluster, sections, pools, workloads, spaces, options.namespace),
        evidence=evidence,
    )


def _enforcement(
    cluster: Cluster,
    sections: tuple[Section, ...],
    pools: tuple[PoolRow, ...],
    workloads: tuple[WorkloadRow, ...],
    spaces: tuple[NamespaceRow, ...],
    namespace: str,
) -> tuple[EnforceRow, ...]:
    def unread(names: Iterable[str]) -> str:
        return "; ".join(f"{one.name}: {one.problem}" for one in sections if one.problem and one.name in names)

    problem = unread(("nodes", "pods"))
    kills = enforce.restart_kills(cluster.fold, cluster.owners)
    selected = enforce.selected_daemonsets(cluster.fold, cluster.owners)
    names = {row.name for row in spaces}
    found = list(forbids(cluster.policies, cluster.bindings))
    labels = {shown(one.name, enforce.SHOWN): one.labels or {} for one in cluster.namespaces}
    of_spaces = enforce.namespace_rows(
        names,
        workloads,
        kills,
        selected,
        lambda name: forbidden(found, name, labels.get(name)),
        unread(("nodes", "pods", *POLICY_KINDS)),
    )
    if namespace:
        problem = "; ".join(filter(None, (f"only the namespace {shown(namespace, 120)} was read", problem)))
    of_pools = enforce.pool_rows(pools, workloads, cluster.empty, problem)
    return (*of_pools, *of_spaces)


def pool_rows(nodes: Iterable[NodeRow]) -> tuple[PoolRow, ...]:
    """The rows of all pools, by name."""
    by_pool: dict[str, list[NodeRow]] = {}
    for node in nodes:
        by_pool.setdefault(node.pool, []).append(node)
    return tuple(_pool(name, by_pool[name]) for name in sorted(by_pool))


def _pool(name: str, nodes: list[NodeRow]) -> PoolRow:
    verdicts = Counter(node.verdict for node in nodes)
    capacities = [node.capacity for node in nodes if node.capacity is not None]
    return PoolRow(
        name=name,
        nodes=len(nodes),
        ready=verdicts["ready"],
        not_ready=verdicts["not-ready"],
        unknown=verdicts["unknown"],
        reasons=_counts(node.reason for node in nodes if node.reason),
        agents=_counts(node.agent for node in nodes if node.agent != "fresh"),
        kernels=_counts(node.kernel for node in nodes),
        kubelets=_counts(node.kubelet for node in nodes),
        runtimes=_counts(node.runtime for node in nodes),
        refused=_counts(one for node in nodes for one in node.refused),
        capacity=sum(capacities) if capacities else None,
    )


def _counts(values: Iterable[str]) -> tuple[Count, ...]:
    """Value -> nodes, the most frequent first."""
    found = sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))
    rest = sum(count for _, count in found[TOP:])
    return (*(Count(value, count) for value, count in found[:TOP]), *((Count("others", rest),) if rest else ()))


def _summary(
    nodes: tuple[NodeRow, ...],
    workloads: tuple[WorkloadRow, ...],
    spaces: tuple[NamespaceRow, ...],
    rules: tuple[PolicyRow, ...],
    evidence: tuple[EvidenceRow, ...],
) -> Summary:
    verdicts = Counter(node.verdict for node in nodes)
    lists = Counter(row.list for row in workloads)
    return Summary(
        nodes=len(nodes),
        ready=verdicts["ready"],
        not_ready=verdicts["not-ready"],
        unknown=verdicts["unknown"],
        pods=sum(row.pods for row in workloads),
        asking=sum(row.asking for row in workloads),
        running_isolated=sum(row.running_isolated for row in workloads),
        workloads=len(workloads),
        lists=Lists({name: lists[name] for name in LISTS}),  # type: ignore[misc] # all names
        unconfined=sum(bool(row.asking) and not row.confined for row in workloads),
        host_namespaces=sum(bool(row.host_namespaces) for row in workloads),
        namespaces=len(spaces),
        pinned=sum(row.pinned for row in spaces),
        policies=len(rules),
        contradictions=sum(row.contradiction for row in evidence),
    )
