"""Tables of the inventory as a file of HTML: their titles, columns and rows."""

from __future__ import annotations

from msgspec import Struct

from probe.fleet.inventory import Inventory
from probe.fleet.outputs.words import EXISTING, SAFE, STATUS, TITLES, breaks, exceptions, full_name, in_list, why
from probe.fleet.rows import LISTS, List, NodeRow
from probe.outputs.text import spaced
from probe.report import STATUS_OF
from probe.terms import Status


class Row(Struct, frozen=True):
    """A row; *status* colours the cell that its part names."""

    cells: tuple[str | int, ...]
    status: Status | None = None


class Part(Struct, frozen=True, kw_only=True):
    """A table."""

    id: str
    title: str
    words: str
    heads: tuple[str, ...]
    rows: list[Row]
    badge: int = -1
    """Column with the status."""
    numbers: tuple[int, ...] = ()
    """Columns of numbers."""


def parts_of(one: Inventory) -> list[Part]:
    """All tables, in the order in which the file has them."""
    return [
        _pools(one),
        *(_workloads(one, name) for name in LISTS),
        _exceptions(one),
        *_enforcement(one),
        _namespaces(one),
        _policies(one),
        _evidence(one),
        _nodes(one),
    ]


def _pools(one: Inventory) -> Part:
    rows = []
    for pool in one.pools:
        status: Status = "fail" if pool.not_ready else "unknown" if pool.unknown else "pass"
        reasons = ", ".join(f"{each.value} {each.nodes}" for each in pool.reasons)
        versions = ["; ".join(each.value for each in values) for values in (pool.kernels, pool.kubelets, pool.runtimes)]
        refused = ", ".join(f"{each.value} {each.nodes}" for each in pool.refused)
        capacity = "" if pool.capacity is None else pool.capacity
        rows.append(Row((pool.name, f"{pool.ready} of {pool.nodes}", reasons, *versions, refused, capacity), status))
    heads = ("Pool", "Ready", "Reasons", "Kernel", "Kubelet", "Runtime", "Refused", "IDs for Pods")
    return Part(id="pools", title="Nodes by pool", words="", heads=heads, rows=rows, badge=1, numbers=(7,))


def _workloads(one: Inventory, name: List) -> Part:
    rows = [
        Row((full_name(row), row.pods, row.asking, "yes" if row.confined else "no", reach, why(row)), STATUS[name])
        for row in in_list(one, name)
        for reach in [f"{row.reachable_runs} of {row.reachable}"]
    ]
    heads = ("Workload", "Pods", "Asking", "Confined", "Suitable nodes", "Because" if name != "movable" else "To do")
    return Part(
        id=f"list-{name}", title=TITLES[name], words=_WORDS[name], heads=heads, rows=rows, badge=4, numbers=(1, 2)
    )


_WORDS: dict[List, str] = {
    "fails": "They set hostUsers: false, and some node that they can reach does not run them with a user namespace.",
    "isolated": "They set hostUsers: false, and every node that they can reach runs them with a user namespace.",
    "asked-unknown": "They set hostUsers: false; unknown whether every node that they can reach runs them.",
    "movable": "They would run with hostUsers: false; the easiest first.",
    "blocked": "They would not run with hostUsers: false.",
    "unknown": "Unknown whether they would run with hostUsers: false.",
}


def _exceptions(one: Inventory) -> Part:
    rows = [Row((full_name(row), row.pods, ", ".join(row.host_namespaces))) for row in exceptions(one)]
    words = "Exceptions: a Pod with hostUsers: false cannot use them."
    heads = ("Workload", "Pods", "Namespaces of the node")
    return Part(id="exceptions", title="Use namespaces of the node", words=words, heads=heads, rows=rows, numbers=(1,))


def _enforcement(one: Inventory) -> list[Part]:
    def part(of: str, title: str) -> Part:
        rows = [Row((row.name, row.safe, breaks(row)), SAFE[row.safe]) for row in one.enforcement if row.of == of]
        words = f"What would break if hostUsers: false were enforced now. {EXISTING}"
        heads = ("Pool" if of == "pool" else "Namespace", "Safe", "Because")
        return Part(id=f"safe-{of}", title=title, words=words, heads=heads, rows=sorted(rows, key=_worst), badge=1)

    return [part("namespace", "Safe to enforce, by namespace"), part("pool", "Safe to enforce, by pool")]


def _worst(row: Row) -> int:
    return ("fail", "unknown", "pass").index(row.status or "pass")


def _namespaces(one: Inventory) -> Part:
    rows = [
        Row(
            (
                row.name,
                row.enforce,
                row.warn,
                row.audit,
                "yes" if row.pinned else "no",
                row.relaxed,
                row.pods,
                row.asking,
            ),
            "warn" if row.pinned else None,
        )
        for row in one.namespaces
    ]
    words = "Pinned: a Pod Security version below 1.35 does not relax its rules for hostUsers: false."
    heads = ("Namespace", "Enforce", "Warn", "Audit", "Pinned", "Relaxed with hostUsers: false", "Pods", "Asking")
    return Part(id="namespaces", title="Pod Security", words=words, heads=heads, rows=rows, badge=4, numbers=(6, 7))


def _policies(one: Inventory) -> Part:
    rows = [
        Row(
            (
                f"{row.namespace and row.namespace + '/'}{row.name}",
                row.kind,
                row.effect,
                ", ".join(row.actions),
                "; ".join(row.scope),
            ),
            "unknown" if row.effect == "unclear" else "skipped",
        )
        for row in one.policies
    ]
    heads = ("Policy", "Kind", "hostUsers: false", "Actions", "Scope")
    words = (
        "Admission policies that mention hostUsers, by what they do to new Pods without it, with true and with false; "
        "unclear: it depends on anything else."
    )
    return Part(id="policies", title="Policies", words=words, heads=heads, rows=rows, badge=2)


def _evidence(one: Inventory) -> Part:
    rows = [
        Row(
            (
                row.node,
                spaced(row.verdict),
                f"{row.errors:g}",
                f"{row.attempts:g}",
                "yes" if row.contradiction else "no",
            ),
            "fail" if row.contradiction else None,
        )
        for row in sorted(one.evidence, key=lambda row: (not row.contradiction, -row.errors, row.node))
    ]
    heads = ("Node", "Verdict", "Failed", "Attempts", "Contradiction")
    words = "Increase within a day of the kubelets' counters of Pods with user namespaces, from Prometheus."
    return Part(id="evidence", title="Evidence", words=words, heads=heads, rows=rows, badge=4, numbers=(2, 3))


def _nodes(one: Inventory) -> Part:
    def order(row: NodeRow) -> tuple[int, str]:
        return ("not-ready", "unknown", "ready").index(row.verdict), row.name

    rows = [
        Row(
            (
                row.name,
                spaced(row.verdict),
                row.pool,
                row.reason,
                row.agent,
                row.label,
                row.kernel,
                row.kubelet,
                row.runtime,
            ),
            STATUS_OF[row.verdict],
        )
        for row in sorted(one.nodes, key=order)
    ]
    heads = ("Node", "Verdict", "Pool", "Reason", "Agent", "Label", "Kernel", "Kubelet", "Runtime")
    return Part(id="nodes", title="Nodes", words="Those that are not ready first.", heads=heads, rows=rows, badge=1)
