"""Scheduling: which nodes a Pod may run on, and whether its scheduling is confined to ready ones. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from probe.fleet import wire, wire_nodes
from probe.fleet.nodes import HOSTNAME, Place, labels_of
from probe.outputs.annotations import LABEL
from probe.pod.scheduling import OS, term_matches
from probe.pod.spec import Requirement, Term

_PASSING = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
"""Prefixes of taints of a node's state, which pass."""


Terms = tuple[Term, ...]
"""Of a node selector: one of them must match."""


class Placement(Struct, frozen=True):
    """Nodes on which a Pod may be scheduled."""

    selector: tuple[tuple[str, str], ...]
    terms: Terms | None
    """Of the required node affinity; None without one, and no node matches an empty one."""
    tolerations: tuple[wire.Toleration, ...]
    volumes: tuple[Terms, ...] = ()
    """Of the required node affinity of each PersistentVolume, all of which hold."""


def placement_of(spec: wire.Spec) -> Placement:
    """The placement that *spec* asks for."""
    affinity = spec.affinity and spec.affinity.node_affinity
    required = affinity.required if affinity else None
    return Placement(
        selector=tuple(sorted((spec.node_selector or {}).items())),
        terms=None if required is None else required.node_selector_terms or (),
        tolerations=spec.tolerations or (),
    )


def confined(placement: Placement) -> bool:
    """True when the selector, or each term of the required affinity, keeps off nodes that are proven not to be ready.

    `NotIn [false]` admits nodes that are unknown or without a label, too.
    """
    if (LABEL, "true") in placement.selector:
        return True
    return bool(placement.terms) and all(
        any(map(_confines, term.match_expressions or ())) for term in placement.terms or ()
    )


def labelled(placement: Placement) -> Placement:
    """*placement* with the label `userns-probe.io/ready: "true"` in its selector."""
    return replace(placement, selector=(*placement.selector, (LABEL, "true")))


def selects(placement: Placement) -> bool:
    """True when scheduling depends on the label `userns-probe.io/ready` in any way."""
    keys = [key for key, _ in placement.selector]
    keys += [one.key for term in placement.terms or () for one in term.match_expressions or ()]
    return LABEL in keys


def _confines(requirement: Requirement) -> bool:
    values = set(requirement.values or ())
    if requirement.key != LABEL:
        return False
    return (requirement.operator == "In" and values == {"true"}) or (
        requirement.operator == "NotIn" and {"false"} <= values
    )


def stranded(places: Mapping[str, Place], placement: Placement, name: str) -> bool:
    """True when Node *name* no longer has the labels that *placement* asks for; false for one that is not known.

    *Source*: the kubelet's admission, which looks at selector and required affinity, not at volumes and taints.
    """
    place = places.get(name)
    return place is not None and not _selected(placement, labels_of(place), name)


class Reach:
    """The nodes that placements admit, counted by profile; equal nodes are asked once."""

    def __init__(self, places: Iterable[Place], placements: Iterable[Placement]) -> None:
        self._places = list(places)
        self._keys = frozenset(key for one in placements for key in _keys(one)) - {HOSTNAME} | {OS, LABEL}
        classes = Counter(self._class(place) for place in self._places)
        self._classes = {key: (dict(key[0]), key[1], key[2], count) for key, count in classes.items()}
        self._by_host: dict[str, list[Place]] = {}
        for place in self._places:
            self._by_host.setdefault(place.host, []).append(place)
        self._known: dict[frozenset[Placement], Counter[int]] = {}

    def profiles(self, placement: Placement) -> Counter[int]:
        """Profile -> number of nodes with it that *placement* admits."""
        return self.union(frozenset((placement,)))

    def union(self, placements: frozenset[Placement]) -> Counter[int]:
        """Profile -> number of nodes with it that any of *placements* admits."""
        if placements not in self._known:
            self._known[placements] = self._count(placements)
        return self._known[placements]

    def _count(self, placements: frozenset[Placement]) -> Counter[int]:
        if any(map(_names_nodes, placements)):
            names = {place.name: place.profile for one in placements for place in self._near(one)}
            return Counter(names.values())
        found: Counter[int] = Counter()
        for labels, taints, profile, count in self._classes.values():
            if any(admits(one, labels, taints, "") for one in placements):
                found[profile] += count
        return found

    def _near(self, placement: Placement) -> Iterator[Place]:
        """The nodes that *placement* admits; few are looked at when it names their hosts."""
        hosts = _hosts(placement)
        near = (place for host in hosts or () for place in self._by_host.get(host, ()))
        for place in self._places if hosts is None else near:
            if admits(placement, labels_of(place), place.taints, place.name):
                yield place

    def _class(self, place: Place) -> tuple[tuple[tuple[str, str], ...], tuple[wire_nodes.Taint, ...], int]:
        return tuple(pair for pair in place.labels if pair[0] in self._keys), place.taints, place.profile


def admits(placement: Placement, labels: dict[str, str], taints: tuple[wire_nodes.Taint, ...], name: str) -> bool:
    """True when a node with these labels, taints and name is admitted. Taints of a state that passes do not count.

    A Windows node admits only Pods whose scheduling names an operating system: any other would fail there as it is.
    """
    if labels.get(OS) == "windows" and OS not in _keys(placement):
        return False
    if not _selected(placement, labels, name):
        return False
    if not all(any(term_matches(term, labels, name) for term in terms) for terms in placement.volumes):
        return False
    return all(
        taint.effect == "PreferNoSchedule"
        or taint.key.startswith(_PASSING)
        or any(_tolerates(one, taint) for one in placement.tolerations)
        for taint in taints
    )


def _selected(placement: Placement, labels: dict[str, str], name: str) -> bool:
    if any(labels.get(key) != value for key, value in placement.selector):
        return False
    return placement.terms is None or any(term_matches(term, labels, name) for term in placement.terms)


def _tolerates(toleration: wire.Toleration, taint: wire_nodes.Taint) -> bool:
    """*Source*: Toleration of core/v1: no effect or key tolerates any; `Exists` tolerates any value."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    equal = toleration.operator in (None, "", "Equal")
    return equal and bool(toleration.key) and (toleration.value or "") == taint.value


def _keys(placement: Placement) -> Iterable[str]:
    yield from (key for key, _ in placement.selector)
    yield from (one.key for term in _all_terms(placement) for one in term.match_expressions or ())


def _all_terms(placement: Placement) -> Iterable[Term]:
    return chain(placement.terms or (), *placement.volumes)


def _names_nodes(placement: Placement) -> bool:
    return HOSTNAME in _keys(placement) or any(term.match_fields for term in _all_terms(placement))


def _hosts(placement: Placement) -> set[str] | None:
    """Hostnames of which a node must have one, by the selector or by a local volume; None: any."""
    host = dict(placement.selector).get(HOSTNAME)
    if host is not None:
        return {host}
    for terms in placement.volumes:
        found = [_host_values(term) for term in terms]
        if found and all(found):
            return set().union(*found)
    return None


def _host_values(term: Term) -> set[str]:
    named = (one for one in term.match_expressions or () if one.key == HOSTNAME and one.operator == "In")
    return next((set(one.values or ()) for one in named), set())
