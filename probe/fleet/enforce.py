"""Safe to enforce? What would break if `hostUsers: false` were enforced now, by namespace and by pool. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from probe.fleet.empty import Empty
from probe.fleet.fold import Fold
from probe.fleet.owners import Owners, Workload
from probe.fleet.reach import selects
from probe.fleet.rows import Breaks, EnforceRow, List, PoolRow, WorkloadRow
from probe.outputs.annotations import LABEL
from probe.outputs.labels import shown

FEW, SOME = 20, 5
"""Entries of a row, of which the last one counts the others; workloads that are named in one."""
SHOWN = 300


def namespace_rows(
    names: Iterable[str],
    workloads: Iterable[WorkloadRow],
    kills: Mapping[Workload, int],
    selected: set[Workload],
    forbidden: Callable[[str], Iterable[tuple[Breaks, bool]]],
    problem: str,
) -> tuple[EnforceRow, ...]:
    """A row for each namespace. *kills*: see `restart_kills`; *selected*: DaemonSets that select by our label.

    *forbidden*(namespace): policies that keep it out, and whether for sure. *problem*: why workloads or policies are
    not known in full; empty when they are.
    """
    breaks: dict[str, list[Breaks]] = {name: [] for name in names}
    unknown: dict[str, list[Breaks]] = {name: [] for name in breaks}
    for row in workloads:
        bad, open_ = breaks.setdefault(row.namespace, []), unknown.setdefault(row.namespace, [])
        what = f"{row.kind} {row.name}"
        reason = row.because[0].reason if row.because else ""
        message = row.because[0].message if row.because else ""
        if row.list in ("blocked", "fails"):
            bad.append(Breaks(what=what, reason=reason, message=message))
        elif row.list in ("movable", "unknown") and row.reachable_fails:
            words = f"{row.reachable_fails} of {row.reachable} reachable nodes are not ready"
            bad.append(Breaks(what=what, reason="SelectedNotReady" if row.confined else "NotConfined", message=words))
        elif row.list in ("unknown", "asked-unknown"):
            open_.append(Breaks(what=what, reason=reason, message=message))
        elif row.list == "movable" and row.reachable_unknown:
            words = f"{row.reachable_unknown} of {row.reachable} reachable nodes are unknown"
            open_.append(Breaks(what=what, reason="SelectedUnknown" if row.confined else "NotConfined", message=words))
    for workload, count in kills.items():
        breaks.setdefault(shown(workload.namespace, SHOWN), []).append(_killed(workload, count))
    for workload in selected:
        breaks.setdefault(shown(workload.namespace, SHOWN), []).append(_selected(workload))
    for name, bad in breaks.items():
        for one, sure in forbidden(name):
            (bad if sure else unknown.setdefault(name, [])).append(one)
    return tuple(_row("namespace", name, breaks[name], unknown.get(name, []), problem) for name in sorted(breaks))


def pool_rows(
    pools: Iterable[PoolRow],
    workloads: Iterable[WorkloadRow],
    empty: Iterable[Empty],
    problem: str,
) -> tuple[EnforceRow, ...]:
    """A row for each pool, with those of size 0.

    *problem*: why nodes or workloads are not known in full; empty when they are.
    """
    bad, open_ = _by_pool(workloads, ("blocked", "fails")), _by_pool(workloads, ("unknown", "asked-unknown"))
    rows, seen = [], set()
    for pool in pools:
        seen.add(pool.name)
        breaks = [Breaks(what=_many(pool.not_ready, "node"), reason="NotReady", message=_reasons(pool))]
        unknown = [Breaks(what=_many(pool.unknown, "node"), reason="NotKnown", message=_reasons(pool))]
        breaks = [*(breaks if pool.not_ready else ()), *_workloads(bad.get(pool.name, []), "CannotRun")]
        unknown = [*(unknown if pool.unknown else ()), *_workloads(open_.get(pool.name, []), "NotKnown")]
        rows.append(_row("pool", pool.name, breaks, unknown, problem))
    rows += [_empty_pool(each) for each in sorted(empty, key=lambda each: each.name) if each.name not in seen]
    return tuple(rows)


def _by_pool(workloads: Iterable[WorkloadRow], lists: tuple[List, ...]) -> dict[str, list[str]]:
    """Pool -> names of the workloads of *lists* that have Pods there."""
    found: dict[str, list[str]] = {}
    for row in workloads:
        if row.list in lists:
            for pool in row.pools:
                found.setdefault(pool.value, []).append(f"{row.namespace}/{row.kind}/{row.name}")
    return found


def _workloads(names: list[str], reason: str) -> list[Breaks]:
    more = f" and {len(names) - SOME} more" if len(names) > SOME else ""
    words = f"{', '.join(names[:SOME])}{more}"
    return [Breaks(what=_many(len(names), "workload"), reason=reason, message=words)] if names else []


def _empty_pool(pool: Empty) -> EnforceRow:
    reason = {True: "NotTried", False: "LabelNotPromised", None: "TemplateNotVisible"}[pool.promised]
    found = [Breaks(what="size 0", reason=reason, message=pool.words)]
    bad, unknown = (found, []) if pool.promised is False else ([], found)
    return _row("pool", shown(pool.name, SHOWN), bad, unknown, "")


def restart_kills(fold: Fold, owners: Owners) -> dict[Workload, int]:
    """Workload -> running Pods on nodes that their scheduling by our label no longer admits.

    The kubelet admits all Pods again when it restarts, and ends those with `NodeAffinity`.
    """
    found: Counter[Workload] = Counter()
    for controller, count in fold.stranded.items():
        found[owners.workload(fold.controllers[controller])] += count
    return dict(found)


def selected_daemonsets(fold: Fold, owners: Owners) -> set[Workload]:
    """DaemonSets whose scheduling depends on our label: their Pods are deleted as soon as it changes."""
    return {
        owners.workload(controller)
        for index, controller in enumerate(fold.controllers)
        if controller.kind == "DaemonSet"
        and any(selects(fold.shapes[cell.shape].placement) for cell in fold.cells(index))
    }


def _row(of: str, name: str, breaks: list[Breaks], unknown: list[Breaks], problem: str) -> EnforceRow:
    if problem:
        unknown = [Breaks(what="this inventory", reason="NotReadable", message=problem), *unknown]
    return EnforceRow(
        of="namespace" if of == "namespace" else "pool",
        name=name,
        safe="no" if breaks else "unknown" if unknown else "yes",
        breaks=_few(breaks),
        unknown=_few(unknown),
    )


def _few(found: list[Breaks]) -> tuple[Breaks, ...]:
    if len(found) <= FEW:
        return tuple(found)
    return (*found[:FEW], Breaks(what=f"and {len(found) - FEW} more", reason="", message=""))


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _reasons(pool: PoolRow) -> str:
    return ", ".join(f"{one.value}: {one.nodes}" for one in pool.reasons)


def _killed(workload: Workload, count: int) -> Breaks:
    words = f"{count} running Pods are on nodes whose label no longer fits: a restart of the kubelet ends them"
    return Breaks(what=_name(workload), reason="KilledByRestart", message=words)


def _selected(workload: Workload) -> Breaks:
    words = f"it is scheduled by {LABEL}: its controller deletes the Pod of a node as soon as the label changes"
    return Breaks(what=_name(workload), reason="DaemonSetSelected", message=words)


def _name(workload: Workload) -> str:
    return shown(f"{workload.kind} {workload.name}", SHOWN)
