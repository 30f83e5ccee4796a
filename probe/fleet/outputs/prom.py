"""Counts of the inventory for Prometheus: few series, for trends; no label names a workload, a node or a Pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from probe.fleet.inventory import Inventory
from probe.fleet.rows import LISTS
from probe.outputs.exposition import Collector, GaugeMetricFamily, Metric, generate_text
from probe.outputs.staleness import parse_time
from probe.outputs.text import visible

PREFIX = "userns_probe_fleet_"
POOLS = 100
"""Pools with series of their own, the largest; the others are counted together."""


class InventoryCollector(Collector):
    """Metrics of one inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def collect(self) -> Iterator[Metric]:
        """All families."""
        return families(self._inventory)


def render_prom(inventory: Inventory) -> str:
    """The counts in the text format of Prometheus, also for node_exporter's textfile collector."""
    return generate_text(InventoryCollector(inventory)).decode()


def families(inventory: Inventory) -> Iterator[Metric]:
    """Every family; counts of what could not be read are left out."""
    found = inventory.summary
    read = {section.name for section in inventory.sections if section.state == "read"}
    taken = parse_time(inventory.taken_at)
    if taken is not None:
        yield _gauge("taken_timestamp_seconds", "When the inventory was taken.", (), {(): taken})
    states = {(section.name,): float(section.state in ("read", "not-served")) for section in inventory.sections}
    yield _gauge("section_read", "Whether a kind of object was read in full.", ("section",), states)
    if "nodes" in read:
        yield _gauge("nodes", "Nodes by pool and verdict.", ("pool", "verdict"), _pools(inventory))
    if {"pods", "nodes"} <= read:
        lists = {(name,): float(found.lists[name]) for name in LISTS}
        yield _gauge("workloads", "Workloads by list.", ("list",), lists)
    if "pods" in read:
        pods = {("all",): found.pods, ("asking",): found.asking}
        pods |= {("isolated",): found.running_isolated} if "nodes" in read else {}
        yield _gauge(
            "pods",
            "Unfinished Pods, those of them with hostUsers: false, and those of the latter that run isolated.",
            ("which",),
            pods,
        )
        words = "Workloads with hostUsers: false whose scheduling is not confined to ready nodes."
        yield _gauge("unconfined_workloads", words, (), {(): found.unconfined})
    if "namespaces" in read:
        words = "Namespaces whose Pod Security version below 1.35 does not relax its rules for user namespaces."
        yield _gauge("pinned_namespaces", words, (), {(): found.pinned})
        safe = {("yes",): 0.0, ("no",): 0.0, ("unknown",): 0.0}
        for row in inventory.enforcement:
            safe[(row.safe,)] += row.of == "namespace"
        yield _gauge("namespaces", "Namespaces by whether hostUsers: false can be enforced now.", ("safe",), safe)
    if {"prometheus", "nodes"} <= read and inventory.evidence:
        words = "Ready nodes on which all attempts of a day to start Pods with user namespaces failed."
        yield _gauge("contradictions", words, (), {(): found.contradictions})


def _pools(inventory: Inventory) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    largest = sorted(inventory.pools, key=lambda row: (-row.nodes, row.name))
    for index, row in enumerate(largest):
        name = visible(row.name) if index < POOLS else "(others)"
        for verdict, count in (("ready", row.ready), ("not-ready", row.not_ready), ("unknown", row.unknown)):
            found[name, verdict] = found.get((name, verdict), 0.0) + count
    return found


def _gauge(name: str, words: str, labels: tuple[str, ...], samples: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}{name}", words, labels=labels)
    for values, value in samples.items():
        family.add_metric([visible(one) for one in values], value)
    return family
