"""The Pod question for a workload: over the nodes that its specs can reach, and where its Pods are. Pure."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct, field
from msgspec.structs import replace

from probe.fleet.ask import Judge
from probe.fleet.fold import Cell, Fold
from probe.fleet.nodes import Nodes
from probe.fleet.reach import Reach, labelled
from probe.pod.model import Judgement, Reason

_NO_NODE = Reason(
    field="spec.nodeSelector",
    outcome="unknown",
    source="rule",
    reason="NoReachableNode",
    message="no known node is admitted by its selector, required affinity, tolerations and volumes",
)


_UNREAD = Reason(
    field="spec.nodeSelector",
    outcome="unknown",
    source="unknown",
    reason="NodesNotRead",
    message="not all nodes were read: it may reach, or already run on, another one",
)


class Judged(Struct):
    """Answers of the Pod question for one workload, over the nodes that it can reach."""

    runs: int = 0
    fails: int = 0
    unknown: int = 0
    unreachable: bool = False
    """Whether one of the specs can reach no node, or nodes that were not read."""
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


def judge_all(considered: list[int], fold: Fold, reach: Reach, ask: Judge, here: Counter[int] | None) -> Judged:
    """Nodes by the worst answer for any spec. *here*: profiles of the only nodes that count; None: reachable ones."""
    judged = Judged()
    worst: dict[int, str] = {}
    reached = here if here is not None else reach.union(frozenset(fold.shapes[index].placement for index in considered))
    for index in considered:
        shape = fold.shapes[index]
        profiles = reach.profiles(shape.placement) if here is None else here
        if not profiles:
            judged.refused |= ask(index, shape, -1).outcome == "refused"
            judged.unreachable = True
            _note(judged, _unreachable(ask(index, shape, -1)), 0)
        for profile, count in profiles.items():
            judgement = ask(index, shape, profile)
            _note(judged, judgement, count)
            worst[profile] = max(worst.get(profile, "runs"), judgement.outcome, key=_BADNESS.index)
    for profile, outcome in worst.items():
        count = reached[profile]
        judged.runs += count if outcome == "runs" else 0
        judged.fails += count if outcome in ("fails", "refused") else 0
        judged.unknown += count if outcome == "unknown" else 0
        judged.refused |= outcome == "refused"
    return judged


def note_unread(judged: Judged) -> None:
    """Note in *judged* that there are nodes which were not read: no answer holds for all."""
    judged.unreachable = True
    key = (_UNREAD.reason, _UNREAD.field)
    judged.reasons[key] += 0
    judged.words[key] = (_UNREAD.message, _UNREAD.remediation, _UNREAD.source)


def selectable(considered: list[int], fold: Fold, reach: Reach, ask: Judge) -> bool:
    """True when each spec would still run somewhere with our label in its selector."""
    return all(
        any(ask(index, shape, profile).outcome == "runs" for profile in reach.profiles(labelled(shape.placement)))
        for index in considered
        for shape in [fold.shapes[index]]
    )


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


def running_isolated(cells: list[Cell], fold: Fold, nodes: Nodes, ask: Judge, judged: Judged) -> int:
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


def profiles_here(cells: list[Cell], nodes: Nodes) -> Counter[int]:
    """Profile -> nodes where a static Pod is: its kubelet starts it, whatever scheduling would say."""
    found: Counter[int] = Counter()
    for cell in cells:
        if cell.place >= 0:
            found[nodes.groups[cell.place].profile] += cell.pods
    return found
