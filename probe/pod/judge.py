"""The Pod question as one pure function."""

from __future__ import annotations

from collections.abc import Iterator

from probe.pod.api import faults, refusals, refusals_with_host_users
from probe.pod.devices import judge_devices
from probe.pod.ids import judge_ids
from probe.pod.level import Levels
from probe.pod.model import POD_LEVELS, WORST_FIRST, Judgement, Node, Note, Origin, Pod, Reason
from probe.pod.notes import notes_of
from probe.pod.scheduling import judge_scheduling
from probe.pod.volumes import Volumes
from probe.pod.walk import reason
from probe.terms import Level

_WEAKEST_FIRST: tuple[Origin, ...] = ("unknown", "kernel-and-driver", "rule", "tried")


def judge(pod: Pod, node: Node) -> Judgement:
    """Outcome of *pod* on *node* with its reasons. Nothing that was not tried there is called tried.

    A Pod that keeps the node's users needs nothing that is judged here: it runs, unless the API server refuses it.
    """
    asks = pod.spec.host_users is False
    if not is_judged(pod):
        return _judgement(asks, list(_with_host_users(pod)), [], levels=())
    levels = Levels(pod, node)
    volumes = Volumes(pod, node, levels)
    needed = [(f"{pod.path}.hostUsers", "stateless"), *_token(pod)]
    reasons = [
        *refusals(pod, node),
        *faults(pod),
        *judge_scheduling(pod, node),
        *(levels.judge(field, level) for field, level in needed),
        *judge_ids(pod, node),
        *volumes.judge(),
        *judge_devices(pod, node),
    ]
    notes = [*volumes.notes, *notes_of(pod, node)]
    return _judgement(asks, reasons, notes, levels=levels.needed)


def is_judged(pod: Pod) -> bool:
    """True when *pod* gets a user namespace, or is judged as if it did."""
    return pod.spec.host_users is False or (pod.assume and pod.spec.host_users is None)


def _with_host_users(pod: Pod) -> Iterator[Reason]:
    message = "it has the node's users, so nothing here depends on user namespaces"
    yield from refusals_with_host_users(pod)
    yield from (one for one in faults(pod) if one.outcome == "refused")
    yield reason(f"{pod.path}.hostUsers", "runs", "rule", "HostUsers", message)


def _token(pod: Pod) -> Iterator[tuple[str, Level]]:
    """The token that the API server adds to each Pod whose ServiceAccount does not forbid it; KEP-541."""
    asked = pod.spec.automount_service_account_token
    if not pod.uid and (pod.token if asked is None else asked) is not False:
        yield f"{pod.path}.automountServiceAccountToken", "projected"


def _judgement(asks: bool, reasons: list[Reason], notes: list[Note], levels: tuple[Level, ...]) -> Judgement:
    ordered = sorted(reasons, key=lambda one: WORST_FIRST.index(one.outcome))
    outcome = ordered[0].outcome
    sources = [one.source for one in ordered if one.outcome == outcome]
    return Judgement(
        outcome=outcome,
        asks=asks,
        level=next((level for level in reversed(POD_LEVELS) if level in levels), None),
        source=min(sources, key=_WEAKEST_FIRST.index),
        reasons=tuple(ordered),
        notes=tuple(notes),
    )
