"""The inventory as one self-contained file for an auditor: summary first, sortable, printable, light and dark."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from probe.fleet.inventory import LISTS, Inventory, List, NodeRow
from probe.fleet.outputs.cards import cards_of
from probe.fleet.outputs.words import (
    EXISTING,
    SAFE,
    STATUS,
    TITLES,
    breaks,
    exceptions,
    full_name,
    in_list,
    problems,
    why,
)
from probe.outputs.text import spaced, visible
from probe.report import STATUS_OF
from probe.terms import Status

if TYPE_CHECKING:
    import jinja2

ROWS = 2000
"""Rows of one table."""
_LONGEST = 2000
"""Characters of one string."""
_LONG_WORD = 36
"""Characters of a word that fits any column."""
_STATES: dict[str, Status] = {"read": "pass", "partial": "warn", "unknown": "unknown", "not-served": "skipped"}


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


def render_html(inventory: Inventory) -> str:
    """The whole file."""
    return _template().render(
        one=inventory,
        name=inventory.cluster or "this cluster",
        cards=cards_of(inventory),
        problems=problems(inventory),
        parts=_parts(inventory),
        states=_STATES,
    )


def _parts(one: Inventory) -> list[Part]:
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


def _has_long_word(cell: str | int) -> bool:
    """Whether a browser must break a word of the cell, so that its table fits the page."""
    return any(len(word) > _LONG_WORD for word in str(cell).split())


def _file(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Content-Security-Policy: this file's own style and script, and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@lru_cache
def _template() -> jinja2.Template:
    """The template; each string that it prints goes through `visible` and is escaped."""
    import jinja2
    from markupsafe import Markup

    style, script = _file("fleet.css"), _file("fleet.js")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("probe.fleet.outputs"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value, _LONGEST) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["long"] = lambda cell: Markup(' class="long"' if _has_long_word(cell) else "")  # noqa: S704 - ours
    environment.globals |= {
        "style": Markup(style),  # noqa: S704 - ours
        "script": Markup(script),  # noqa: S704 - ours
        "policy": _policy(style, script),
        "limit": ROWS,
    }
    return environment.get_template("fleet.html.j2")
