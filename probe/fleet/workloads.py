"""Workloads: which list each belongs to, and because of what. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from probe.fleet.ask import Judge
from probe.fleet.fold import NOT_SCHEDULED, Cell, Fold, Shape
from probe.fleet.inventory import Because, Count, List, WorkloadRow
from probe.fleet.nodes import Nodes
from probe.fleet.owners import Owners, Workload, by_workload
from probe.fleet.reach import Reach, confined
from probe.outputs.annotations import LABEL
from probe.outputs.labels import shown
from probe.pod.model import Judgement, Reason

T = TypeVar("T")

REASONS = 5
"""Reasons of a workload that are kept, the most frequent ones."""
SHOWN = 300
"""Bytes of a name or message that is shown."""
UNPLACED = "(not scheduled)"
UNKNOWN_NODE = "(unknown node)"

_SELECTOR = f'nodeSelector {LABEL}: "true", since some reachable nodes are not ready'
_EXPLICIT = "it sets hostUsers: true: find out why before you change it"
_NO_NODE = Reason(
    field="spec.nodeSelector",
    outcome="unknown",
    source="rule",
    reason="NoReachableNode",
    message="no known node is admitted by its selector, required affinity and tolerations",
)


class Judged(Struct):
    """Answers of the Pod question for one workload, over the nodes that it can reach."""

    runs: int = 0
    fails: int = 0
    unknown: int = 0
    refused: bool = False
    """By the API server, wherever it would run."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(reason, field) -> nodes."""
    words: dict[tuple[str, str], tuple[str, str, str]] = field(default_factory=dict)
    """(reason, field) -> message, remediation, source."""
    fails_here: bool = False
    """Whether it would not run on a node where it is now."""
    notes: int = 0
    guessed: bool = False
    """Whether an answer rests upon tables, not upon a trial."""


def workload_rows(fold: Fold, owners: Owners, nodes: Nodes, ask: Judge) -> list[WorkloadRow]:
    """The rows of all workloads, by namespace, kind and name."""
    reach = Reach(nodes.places.values(), {shape.placement for shape in fold.shapes})
    same = _same()
    rows = [
        _row(workload, [cell for index in indexes for cell in fold.cells(index)], fold, nodes, reach, ask, same)
        for workload, indexes in by_workload(owners, fold.controllers).items()
    ]
    return sorted(rows, key=lambda row: (row.namespace, row.kind, row.name))


def _same() -> Callable[[T], T]:
    """A function that returns the first of equal values: thousands of workloads share pools and reasons."""
    known: dict[Any, Any] = {}
    return lambda value: known.setdefault(value, value)


def _row(
    workload: Workload,
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
    here = _here(cells, nodes) if workload.kind == "StaticPod" else None
    judged = _judged(considered, fold, reach, ask, here)
    isolated = _isolated([cell for cell in cells if cell.shape in asking], fold, nodes, ask, judged)
    found = _list(bool(asking), judged, everywhere=workload.kind in ("DaemonSet", "StaticPod"))
    tight = all(confined(fold.shapes[index].placement) for index in considered)
    needs = _needs(judged, [fold.shapes[index] for index in considered], tight) if found == "movable" else ()
    clean = partial(shown, limit=SHOWN)
    return WorkloadRow(
        namespace=clean(workload.namespace),
        kind=clean(workload.kind),
        name=clean(workload.name),
        resolved=workload.resolved,
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
        because=same(_because(judged)),
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
    """What to change besides setting the field."""
    explicit = any(shape.spec.host_users for shape in shapes)
    return ((_EXPLICIT,) if explicit else ()) + ((_SELECTOR,) if (judged.fails or judged.unknown) and not tight else ())


def _judged(considered: list[int], fold: Fold, reach: Reach, ask: Judge, here: Counter[int] | None) -> Judged:
    """Nodes by the worst answer for any spec. *here*: profiles of the only nodes that count; None: reachable ones."""
    judged = Judged()
    worst: dict[int, tuple[str, int]] = {}
    for index in considered:
        shape = fold.shapes[index]
        profiles = reach.profiles(shape.placement) if here is None else here
        if not profiles:
            judged.refused |= ask(index, shape, -1).outcome == "refused"
            _note(judged, _unreachable(ask(index, shape, -1)), 0)
        for profile, count in profiles.items():
            judgement = ask(index, shape, profile)
            _note(judged, judgement, count)
            before = worst.get(profile, ("runs", 0))
            worst[profile] = max(before[0], judgement.outcome, key=_BADNESS.index), max(before[1], count)
    for outcome, count in worst.values():
        judged.runs += count if outcome == "runs" else 0
        judged.fails += count if outcome in ("fails", "refused") else 0
        judged.unknown += count if outcome == "unknown" else 0
        judged.refused |= outcome == "refused"
    return judged


_BADNESS = ("runs", "unknown", "fails", "refused")


def _unreachable(judgement: Judgement) -> Judgement:
    """*judgement* of no node, unless the API server refuses the Pod everywhere."""
    return judgement if judgement.outcome == "refused" else replace(judgement, outcome="unknown", reasons=(_NO_NODE,))


def _note(judged: Judged, judgement: Judgement, nodes: int) -> None:
    judged.notes = max(judged.notes, len(judgement.notes))
    judged.guessed |= judgement.source not in ("tried", "rule")
    for reason in judgement.reasons:
        if reason.outcome == judgement.outcome != "runs":
            key = (reason.reason, reason.field)
            judged.reasons[key] += nodes
            judged.words.setdefault(key, (reason.message, reason.remediation, reason.source))


def _isolated(cells: list[Cell], fold: Fold, nodes: Nodes, ask: Judge, judged: Judged) -> int:
    """Running Pods whose node's answer is `runs`; a failure there is noted in *judged*."""
    isolated = 0
    for cell in cells:
        if cell.place < 0:
            continue
        judgement = ask(cell.shape, fold.shapes[cell.shape], nodes.groups[cell.place].profile)
        if judgement.outcome == "runs":
            isolated += cell.pods if cell.running else 0
        elif judgement.outcome in ("fails", "refused"):
            judged.fails_here = True
            _note(judged, judgement, 0)
    return isolated


def _here(cells: list[Cell], nodes: Nodes) -> Counter[int]:
    """Profile -> nodes where a static Pod is: its kubelet starts it, whatever scheduling would say."""
    found: Counter[int] = Counter()
    for cell in cells:
        if cell.place >= 0:
            found[nodes.groups[cell.place].profile] += cell.pods
    return found


def _list(asks: bool, judged: Judged, *, everywhere: bool) -> List:
    """*everywhere*: the workload has a Pod on each of its nodes, so all of them must admit it."""
    if judged.refused:
        return "fails" if asks else "blocked"
    if asks:
        return (
            "fails"
            if judged.fails or judged.fails_here
            else "asked-unknown"
            if judged.unknown or not judged.runs
            else "isolated"
        )
    if judged.runs and not (everywhere and (judged.fails or judged.unknown)):
        return "movable"
    if everywhere and judged.fails:
        return "blocked"
    return "blocked" if judged.fails and not judged.unknown else "unknown"


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
