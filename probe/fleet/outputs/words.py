"""Words that the outputs share."""

from __future__ import annotations

from probe.fleet.inventory import Inventory
from probe.fleet.rows import EnforceRow, List, WorkloadRow
from probe.terms import Status

TITLES: dict[List, str] = {
    "fails": "Asked, and will fail or be ignored",
    "isolated": "Runs isolated",
    "asked-unknown": "Asked, and unknown",
    "movable": "Could be moved today",
    "blocked": "Cannot be moved",
    "unknown": "Unknown whether it could be moved",
}
STATUS: dict[List, Status] = {
    "fails": "fail",
    "isolated": "pass",
    "asked-unknown": "unknown",
    "movable": "pass",
    "blocked": "warn",
    "unknown": "unknown",
}
EXISTING = (
    "The answer covers the Pods that exist now, not finished ones or workloads without Pods (0 replicas, a CronJob "
    "between its Jobs)."
)
"""What the answer to `safe to enforce?` leaves out."""
SAFE: dict[str, Status] = {"yes": "pass", "no": "fail", "unknown": "unknown"}


def in_list(inventory: Inventory, name: List) -> list[WorkloadRow]:
    """The workloads of a list: the movable by ease, all others by Pods, the most first."""
    rows = [row for row in inventory.workloads if row.list == name]
    return sorted(rows, key=lambda row: (row.ease, -row.pods, row.namespace, row.kind, row.name))


def full_name(row: WorkloadRow) -> str:
    """`shop/Deployment/web`."""
    return f"{row.namespace}/{row.kind}/{row.name}"


def exceptions(inventory: Inventory) -> list[WorkloadRow]:
    """Workloads that use namespaces of the node, those with the most Pods first."""
    rows = [row for row in inventory.workloads if row.host_namespaces]
    return sorted(rows, key=lambda row: (-row.pods, row.namespace, row.kind, row.name))


def why(row: WorkloadRow) -> str:
    """The main reason of a workload's list, and how many of its nodes have it."""
    if row.list == "isolated":
        return "" if row.confined else "not confined: a node that is added may not be ready"
    if row.list == "movable":
        return "; ".join(row.needs) or "on every node that it can reach"
    if not row.because:
        return ""
    main = row.because[0]
    of = f" on {main.nodes} of {row.reachable} nodes" if 0 < main.nodes < row.reachable else ""
    return f"{main.reason}{of}: {main.field}: {main.message}"


def breaks(row: EnforceRow) -> str:
    """Objects that break, or are unknown, in one line."""
    found = row.breaks or row.unknown
    return "; ".join(f"{one.what}{one.reason and ' '}{one.reason}" for one in found[:3]) + (
        f"; and {len(found) - 3} more" if len(found) > 3 else ""
    )


def problems(inventory: Inventory) -> list[str]:
    """Sections that could not be read, one line each; an API that the server lacks is not a problem."""
    lines = [
        f"{one.name}: {one.problem}"
        for one in inventory.sections
        if one.problem and not (one.name == "prometheus" and one.problem.startswith("not asked"))
    ]
    for one in inventory.sections:
        if len(one.resource_versions) > 1:
            versions = ", ".join(one.resource_versions)
            lines.append(f"{one.name}: pages are of resource versions {versions}, since the first token expired")
    if inventory.clock_skew_seconds:
        lines.append(f"clock: this machine is {inventory.clock_skew_seconds:g} s off the API server, whose time counts")
    return lines
