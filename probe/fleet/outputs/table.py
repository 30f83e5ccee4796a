"""The inventory for people: counts at a glance, then what fails, then the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from probe.fleet.inventory import Inventory, section_of
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
from probe.fleet.rows import LISTS, EnforceRow, PoolRow
from probe.outputs.text import Cell, Page, mark, shortened
from probe.terms import Status

_LONG = 300


def render_table(inventory: Inventory, *, width: int | None, colour: bool, verbose: int = 0) -> str:
    """The whole inventory; without *verbose* the first rows of each table."""
    page = Page(width=width, colour=colour, limit=_LONG)
    _add_summary(page, inventory)
    _add(page, "NOT KNOWN", [[line] for line in problems(inventory)], verbose=1)
    _add(page, "NODES BY POOL", map(_pool, inventory.pools), verbose)
    for name in LISTS:
        rows = [[mark(STATUS[name]), full_name(row), _pods(row.pods), why(row)] for row in in_list(inventory, name)]
        _add(page, f"{TITLES[name].upper()}: {len(rows)}", rows, verbose)
    hosts = [[full_name(row), _pods(row.pods), ", ".join(row.host_namespaces)] for row in exceptions(inventory)]
    _add(page, "WITH NAMESPACES OF THE NODE", hosts, verbose)
    spaces = [[row.name, row.enforce, row.relaxed] for row in inventory.namespaces if row.pinned or verbose]
    _add(page, "PINNED BELOW POD SECURITY 1.35" if not verbose else "POD SECURITY", spaces, verbose)
    rules = [
        [row.effect, f"{row.kind} {row.namespace and row.namespace + '/'}{row.name}", _policy(row.actions, row.scope)]
        for row in inventory.policies
    ]
    _add(page, "POLICIES ON hostUsers", rows=rules, verbose=verbose)
    for kind in ("pool", "namespace"):
        found = [_enforce(row) for row in inventory.enforcement if row.of == kind]
        _add(page, f"SAFE TO ENFORCE NOW, BY {kind.upper()}?", found, verbose)
    if inventory.enforcement:
        page.line((EXISTING, "dim"), indent=2)
    _add_evidence(page, inventory, verbose)
    return str(page)


def _add_summary(page: Page, inventory: Inventory) -> None:
    found = inventory.summary
    where = f"namespace {inventory.namespace} of {inventory.cluster}" if inventory.namespace else inventory.cluster
    page.line((where or "cluster", "bold"), f"  {inventory.server_version}", indent=2)
    has_nodes, has_pods = (section_of(inventory, name).state in ("read", "partial") for name in ("nodes", "pods"))
    nodes = f"{_many(found.nodes, 'node')}: {found.ready} ready, {found.not_ready} not ready, {found.unknown} unknown"
    isolated = f", of which {found.running_isolated} run isolated" if has_nodes else ""
    pods = (
        f"{_pods(found.pods)} of {_many(found.workloads, 'workload')}: {_pods(found.asking)} with hostUsers: false"
        f"{isolated}; {_many(found.unconfined, 'asking workload')} not confined"
    )
    page.line(nodes if has_nodes else "nodes were not read", indent=2)
    page.line(pods if has_pods else "Pods were not read", indent=2)
    if has_pods:
        page.line(f"{_many(found.host_namespaces, 'workload')} with namespaces of the node", indent=2)
    page.line(
        (f"taken {inventory.taken_at} in {inventory.seconds:g} s · userns-probe {inventory.agent_version}", "dim"),
        indent=2,
    )


def _add(page: Page, title: str, rows: Iterable[Sequence[Cell]], verbose: int) -> None:
    found = [list(row) for row in rows]
    if found:
        page.heading((title, "bold"))
        page.table(found if verbose else shortened(found), marked=isinstance(found[0][0], tuple))


def _pool(row: PoolRow) -> list[Cell]:
    status: Status = "fail" if row.not_ready else "unknown" if row.unknown else "pass"
    reasons = ", ".join(f"{one.value} {one.nodes}" for one in row.reasons)
    kernels = ", ".join(one.value for one in row.kernels[:2])
    capacity = f"IDs for {row.capacity} Pods" if row.capacity is not None else ""
    words = " · ".join(filter(None, (f"{row.ready} of {row.nodes} ready", reasons, kernels, capacity)))
    return [mark(status), row.name, words]


def _enforce(row: EnforceRow) -> list[Cell]:
    return [mark(SAFE[row.safe]), row.name, row.safe, breaks(row)]


def _policy(actions: tuple[str, ...], scope: tuple[str, ...]) -> str:
    return " · ".join(filter(None, (", ".join(actions), "; ".join(scope))))


def _add_evidence(page: Page, inventory: Inventory, verbose: int) -> None:
    rows = sorted(inventory.evidence, key=lambda row: (not row.contradiction, -row.errors))
    found = [
        [
            mark("fail" if row.contradiction else "warn" if row.errors else "pass"),
            row.node,
            row.verdict.replace("-", " "),
            f"{row.errors:g} of {row.attempts:g} attempts failed in a day"
            f"{': CONTRADICTION, the node says ready' if row.contradiction else ''}",
        ]
        for row in rows
    ]
    _add(page, "EVIDENCE OF THE KUBELETS' COUNTERS", found, verbose)


def _pods(count: int) -> str:
    return _many(count, "Pod")


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
