"""The cards of the summary: a number, its words and its colour; none of them is green or zero for lack of a list."""

from __future__ import annotations

from msgspec import Struct

from probe.fleet.inventory import Inventory, section_of
from probe.fleet.outputs.words import STATUS, TITLES
from probe.fleet.rows import LISTS
from probe.terms import Status


class Card(Struct, frozen=True):
    """A number of the summary."""

    number: str
    words: str
    status: Status


def cards_of(one: Inventory) -> list[Card]:
    """All cards of the inventory."""
    found = one.summary
    nodes, pods, both = ("nodes",), ("pods",), ("pods", "nodes")
    none_fails: Status = "unknown" if found.lists["asked-unknown"] else "pass"
    cards = [
        _card(one, nodes, f"{found.ready} of {found.nodes}", "nodes ready", "pass" if found.ready else "skipped"),
        _card(
            one,
            nodes,
            found.not_ready,
            "nodes not ready",
            "fail" if found.not_ready else "unknown" if found.unknown else "pass",
        ),
        _card(one, nodes, found.unknown, "nodes unknown", "unknown" if found.unknown else "pass"),
        _card(one, pods, f"{found.asking} of {found.pods}", "Pods with hostUsers: false", "skipped"),
        _card(
            one, both, found.running_isolated, "Pods that run isolated", "pass" if found.running_isolated else "skipped"
        ),
    ]
    cards += [
        _card(one, both, count, f"workloads: {TITLES[name].lower()}", STATUS[name] if count else none_fails)
        for name in LISTS
        if (count := found.lists[name]) or name == "fails"
    ]
    words = "asking workloads not confined to ready nodes"
    return [
        *cards,
        _card(one, pods, found.unconfined, words, "warn" if found.unconfined else "pass"),
        _card(one, pods, found.host_namespaces, "workloads use namespaces of the node", "skipped"),
        _contradictions(one),
    ]


def _card(one: Inventory, needs: tuple[str, ...], number: int | str, words: str, status: Status) -> Card:
    """The card of a number that rests on the sections *needs*; of one that was not read there is no number."""
    states = {section_of(one, name).state for name in needs}
    if states == {"read"}:
        return Card(str(number), words, status)
    if states <= {"read", "partial"}:
        return Card(str(number), f"{words}: not read in full", status if status in ("fail", "warn") else "unknown")
    return Card("?", f"{words}: not read", "unknown")


def _contradictions(one: Inventory) -> Card:
    words = "contradictions by the kubelets' counters"
    if section_of(one, "prometheus").state != "read":
        return Card("?", f"{words}: Prometheus was not read", "skipped")
    if not one.evidence:
        return Card("?", f"{words}: Prometheus has none", "unknown")
    return Card(str(one.summary.contradictions), words, "fail" if one.summary.contradictions else "pass")
