"""Workloads: which list each belongs to, and because of what. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from probe.fleet.ask import Judge
from probe.fleet.fold import NOT_SCHEDULED, Cell, Fold, Shape
from probe.fleet.judged import Judged, judge_all, note_unread, profiles_here, running_isolated, selectable
from probe.fleet.nodes import Nodes
from probe.fleet.owners import Owners, Resolved, Workload, by_workload
from probe.fleet.reach import Reach, confined
from probe.fleet.rows import Because, Count, List, WorkloadRow
from probe.outputs.annotations import LABEL
from probe.outputs.labels import shown

T = TypeVar("T")

REASONS = 5
"""Reasons of a workload that are kept, the most frequent ones."""
SHOWN = 300
"""Bytes of a name or message that is shown."""
UNPLACED = "(not scheduled)"
UNKNOWN_NODE = "(unknown node)"

_SELECTOR = f'nodeSelector {LABEL}: "true", because some reachable nodes are not ready'
_EXPLICIT = "it sets hostUsers: true; find out why before you change it"
_NO_LABEL = Because(
    reason="LabelNotTrue",
    field="spec.nodeSelector",
    message=f"some reachable nodes are not ready, and no reachable one that runs it has {LABEL}: true: a selector on "
    "that label would leave its Pods Pending",
    remediation="let the agent publish the label, or confine the workload to a pool whose nodes are all ready",
    source="rule",
    nodes=0,
)


def workload_rows(fold: Fold, owners: Owners, nodes: Nodes, ask: Judge) -> list[WorkloadRow]:
    """The rows of all workloads, by namespace, kind and name."""
    reach = Reach(nodes.places.values(), {shape.placement for shape in fold.shapes})
    same = _same()
    rows = [
        _row(workload, _resolved(owners, fold, indexes), _cells(fold, indexes), fold, nodes, reach, ask, same)
        for workload, indexes in by_workload(owners, fold.controllers).items()
    ]
    return sorted(rows, key=lambda row: (row.namespace, row.kind, row.name))


def _resolved(owners: Owners, fold: Fold, controllers: list[int]) -> Resolved:
    """`name` if any of a workload's *controllers* could not be read."""
    found = {owners.resolved(fold.controllers[index]) for index in controllers}
    return "name" if "name" in found else found.pop()


def _cells(fold: Fold, controllers: list[int]) -> list[Cell]:
    return [cell for index in controllers for cell in fold.cells(index)]


def _same() -> Callable[[T], T]:
    """A function that returns the first of equal values: thousands of workloads share pools and reasons."""
    known: dict[Any, Any] = {}
    return lambda value: known.setdefault(value, value)


def _row(
    workload: Workload,
    resolved: Resolved,
    cells: list[Cell],
    fold: Fold,
    nodes: Nodes,
    reach: Reach,
    ask: Judge,
    same: Callable[[Any], Any],
) -> WorkloadRow:
    pods: Counter[int] = Counter()
    for cell in cells:
        pods[cell.shape] += cell.pods
    asking = {index for index in pods if fold.shapes[index].spec.host_users is False}
    considered = sorted(asking or pods)
    fixed = profiles_here(cells, nodes) if workload.kind == "StaticPod" else None
    judged = judge_all(considered, fold, reach, ask, fixed)
    if not nodes.complete:
        note_unread(judged)
    tight = all(confined(fold.shapes[index].placement) for index in considered)
    isolated = running_isolated([cell for cell in cells if cell.shape in asking], fold, nodes, ask, judged)
    found = _list(bool(asking), judged, everywhere=workload.kind in ("DaemonSet", "StaticPod"))
    because = _because(judged)
    partly = found == "movable" and not tight and (judged.fails or judged.unknown)
    if partly and not selectable(considered, fold, reach, ask):
        found, because = "unknown", (replace(_NO_LABEL, nodes=judged.runs), *because)[:REASONS]
    needs = _needs(judged, [fold.shapes[index] for index in considered], tight) if found == "movable" else ()
    clean = partial(shown, limit=SHOWN)
    return WorkloadRow(
        namespace=clean(workload.namespace),
        kind=clean(workload.kind),
        name=clean(workload.name),
        resolved=resolved,
        list=found,
        pods=pods.total(),
        asking=sum(pods[index] for index in asking),
        running_isolated=isolated,
        confined=tight,
        host_namespaces=_host_namespaces([fold.shapes[index] for index in pods]),
        shapes=len(pods),
        pools=same(tuple(map(same, _pools(cells, nodes)))),
        reachable=judged.runs + judged.fails + judged.unknown,
        reachable_runs=judged.runs,
        reachable_fails=judged.fails,
        reachable_unknown=judged.unknown,
        because=same(because),
        needs=needs,
        ease=_ease(workload, considered, fold, judged, bool(needs)) if found == "movable" else 0,
    )


def _host_namespaces(shapes: list[Shape]) -> tuple[str, ...]:
    used = {
        "network": any(shape.spec.host_network for shape in shapes),
        "pid": any(shape.spec.host_pid for shape in shapes),
        "ipc": any(shape.spec.host_ipc for shape in shapes),
    }
    return tuple(name for name, value in used.items() if value)


def _needs(judged: Judged, shapes: list[Shape], tight: bool) -> tuple[str, ...]:
    """Changes that a workload needs besides hostUsers: false."""
    explicit = any(shape.spec.host_users for shape in shapes)
    return ((_EXPLICIT,) if explicit else ()) + ((_SELECTOR,) if (judged.fails or judged.unknown) and not tight else ())


def _list(asks: bool, judged: Judged, *, everywhere: bool) -> List:
    """*everywhere*: the workload has a Pod on each of its nodes, so all of them must admit it."""
    if judged.refused:
        return "fails" if asks else "blocked"
    if asks:
        return (
            "fails"
            if judged.fails or judged.fails_here
            else "asked-unknown"
            if judged.unknown or judged.unreachable or not judged.runs
            else "isolated"
        )
    if judged.runs and not judged.unreachable and not (everywhere and (judged.fails or judged.unknown)):
        return "movable"
    if everywhere and judged.fails:
        return "blocked"
    return "blocked" if judged.fails and not (judged.runs or judged.unknown or judged.unreachable) else "unknown"


def _because(judged: Judged) -> tuple[Because, ...]:
    found = []
    for key, nodes in sorted(judged.reasons.items(), key=lambda one: (-one[1], one[0]))[:REASONS]:
        message, remediation, source = (shown(text, SHOWN) for text in judged.words[key])
        found.append(
            Because(
                reason=key[0],
                field=shown(key[1], SHOWN),
                message=message,
                remediation=remediation,
                source=source,
                nodes=nodes,
            )
        )
    return tuple(found)


def _pools(cells: list[Cell], nodes: Nodes) -> tuple[Count, ...]:
    pods: Counter[str] = Counter()
    for cell in cells:
        name = (
            nodes.groups[cell.place].pool
            if cell.place >= 0
            else UNPLACED
            if cell.place == NOT_SCHEDULED
            else UNKNOWN_NODE
        )
        pods[name] += cell.pods
    return tuple(Count(name, count) for name, count in sorted(pods.items(), key=lambda one: (-one[1], one[0])))


def _ease(workload: Workload, considered: list[int], fold: Fold, judged: Judged, selector: bool) -> int:
    """A rank: stateless controllers of Pods first; then volumes, hostPaths, open questions and singular Pods."""
    volumes = [volume for index in considered for volume in fold.shapes[index].spec.volumes or ()]
    claims = any(volume.persistent_volume_claim or volume.csi or volume.ephemeral for volume in volumes)
    paths = any(volume.host_path for volume in volumes)
    single = workload.kind in ("Pod", "StaticPod")
    return 5 * selector + 10 * claims + 20 * paths + 10 * judged.guessed + 40 * single + judged.notes
