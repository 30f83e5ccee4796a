"""Pods, folded page by page into owners and specs: what is kept grows with workloads, not with Pods. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from probe.fleet import wire
from probe.fleet.canonical import canonical
from probe.fleet.reach import Placement, Terms, placement_of, selects
from probe.fleet.volumes import Volumes
from probe.pod.model import Claim
from probe.pod.spec import Affinity, ClaimReference, NodeAffinity, PodSpec, Required, Term, Volume

_TOKEN = re.compile(rb"kube-api-access-[a-z0-9]{5}")
_ENCODER = msgspec.msgpack.Encoder()
_PACKED = msgspec.msgpack.Decoder(wire.Spec)
_JUDGED = msgspec.msgpack.Decoder(PodSpec)
MIRROR, CDI = "kubernetes.io/config.mirror", "cdi.k8s.io/"
"""Annotation of a static Pod's mirror, and prefix of those that name devices."""
_SHAPE, _CONTROLLER = 24, 56
"""First bits of the index of a shape and of a controller in a cell's key."""
NOT_SCHEDULED = -1


class Controller(Struct, frozen=True, gc=False):
    """The direct controller of Pods; a Pod without one, or a static Pod, stands for itself."""

    namespace: str
    kind: str
    name: str
    uid: str
    group: str
    """API version."""
    hash: str
    """`pod-template-hash` of its Pods."""


class Shape(Struct, frozen=True):
    """Fields that Pods of one template share."""

    spec: PodSpec
    claims: dict[str, Claim]
    """Of its volumes, by the volume's name."""
    devices: tuple[str, ...]
    """Annotations of CDI."""
    placement: Placement


class Cell(NamedTuple):
    """Pods that differ in nothing that counts."""

    shape: int
    place: int
    """Index of the group of nodes; NOT_SCHEDULED, or -2 on a node that was not read."""
    running: bool
    pods: int


class Fold:
    """The Pods of a cluster."""

    def __init__(
        self, group_of: Callable[[str], int], volumes: Volumes, stranded: Callable[[Placement, str], bool]
    ) -> None:
        """*group_of*(node): its group. *stranded*(placement, node): a restart of the kubelet ends such a Pod."""
        self._group_of, self._volumes, self._stranded_on = group_of, volumes, stranded
        self.controllers: list[Controller] = []
        self.shapes: list[Shape] = []
        self.stranded: Counter[int] = Counter()
        """Controller -> running Pods that a restart of the kubelet would end."""
        self._cells: Counter[int] = Counter()
        self._keys: list[int] = []
        self._controllers: dict[Controller, int] = {}
        self._shapes: dict[bytes, int] = {}
        self._canonical_shapes: dict[bytes, int] = {}
        self._selects: list[bool] = []
        self._words: dict[str, str] = {}

    def add(self, pods: list[wire.Pod]) -> None:
        """Fold a page."""
        for pod in pods:
            spec = pod.spec
            controller = self._controller(pod)
            shape = self._shape(pod, per_node=self.controllers[controller].kind == "DaemonSet")
            running = pod.status is not None and pod.status.phase == "Running"
            place = self._group_of(spec.node_name) if spec.node_name else NOT_SCHEDULED
            self._cells[_packed(controller, shape, place, running)] += 1
            if running and self._selects[shape] and self._stranded_on(self.shapes[shape].placement, spec.node_name):
                self.stranded[controller] += 1

    def cells(self, controller: int) -> Iterator[Cell]:
        """The cells of a controller, of which *controller* is the index."""
        if len(self._keys) != len(self._cells):
            self._keys = sorted(self._cells)
        first, after = (bisect_left(self._keys, index << _CONTROLLER) for index in (controller, controller + 1))
        for key in self._keys[first:after]:
            shape, place = key >> _SHAPE & (1 << _CONTROLLER - _SHAPE) - 1, (key >> 1 & (1 << _SHAPE - 1) - 1) - 2
            yield Cell(shape, place, bool(key & 1), self._cells[key])

    def _controller(self, pod: wire.Pod) -> int:
        found = _controller(pod)
        index = self._controllers.get(found)
        if index is None:
            word = self._words.setdefault
            found = Controller(*(word(one, one) for one in (getattr(found, name) for name in found.__struct_fields__)))
            index = self._controllers[found] = len(self.controllers)
            self.controllers.append(found)
        return index

    def _shape(self, pod: wire.Pod, *, per_node: bool) -> int:
        spec = pod.spec
        devices = tuple(sorted(key for key in pod.metadata.annotations or () if key.startswith(CDI)))
        claims: dict[str, Claim] = {}
        terms: tuple[Terms, ...] = ()
        volumes = spec.volumes
        if volumes and any(each.persistent_volume_claim or each.ephemeral for each in volumes):
            names = [(pod.metadata.namespace, _claim_of(each, pod.metadata.name)) for each in volumes]
            terms = tuple(
                dict.fromkeys(self._volumes.terms[name] for name in names if name[1] and name in self._volumes.terms)
            )
            volumes = tuple(map(partial(self._without_claim, claims), volumes, names))
        affinity = _without_node(spec.affinity) if per_node and spec.affinity else spec.affinity
        plain = replace(spec, node_name="", volumes=volumes, affinity=affinity)
        packed = _TOKEN.sub(b"kube-api-access-xxxxx", _ENCODER.encode(plain))
        key = packed + _ENCODER.encode((claims, devices, terms)) if claims or devices else packed
        digest = blake2b(key, digest_size=16).digest()
        if digest not in self._shapes:
            self._shapes[digest] = self._canonical(packed, claims, devices, terms)
        return self._shapes[digest]

    def _canonical(
        self, packed: bytes, claims: dict[str, Claim], devices: tuple[str, ...], terms: tuple[Terms, ...]
    ) -> int:
        placement = replace(placement_of(_PACKED.decode(packed)), volumes=terms)
        spec, claims = canonical(_JUDGED.decode(packed), claims)
        key = blake2b(_ENCODER.encode((spec, claims, devices, placement)), digest_size=16).digest()
        if key not in self._canonical_shapes:
            self._canonical_shapes[key] = len(self.shapes)
            self.shapes.append(Shape(spec, claims, devices, placement))
            self._selects.append(selects(placement))
        return self._canonical_shapes[key]

    def _without_claim(self, claims: dict[str, Claim], volume: Volume, name: tuple[str, str]) -> Volume:
        """*volume* with its own name for that of its claim, which differs between the Pods of a StatefulSet.

        An ephemeral volume that is bound becomes a claim, too: its volume says more than its class.
        """
        known = self._volumes.claims.get(name) if name[1] else None
        if known is not None:
            claims[volume.name] = known
        elif volume.persistent_volume_claim is None:
            return volume
        return replace(volume, persistent_volume_claim=ClaimReference(volume.name), ephemeral=None)


def _claim_of(volume: Volume, pod: str) -> str:
    """Name of the claim of *volume*, empty without one. *Source*: pkg/volume/util of Kubernetes, of ephemeral ones."""
    if volume.ephemeral is not None:
        return f"{pod}-{volume.name}"
    return volume.persistent_volume_claim.claim_name if volume.persistent_volume_claim else ""


def _packed(controller: int, shape: int, place: int, running: bool) -> int:
    """A key of one number: at a third of the memory of a tuple, of which there may be as many as Pods."""
    return controller << _CONTROLLER | shape << _SHAPE | (place + 2) << 1 | running


def _controller(pod: wire.Pod) -> Controller:
    meta = pod.metadata
    if MIRROR in (meta.annotations or ()):
        node = pod.spec.node_name
        name = meta.name.removesuffix(f"-{node}") if node else meta.name
        return Controller(meta.namespace, "StaticPod", name, "", "v1", "")
    for owner in meta.owner_references or ():
        if owner.controller:
            template = meta.labels.pod_template_hash if meta.labels else ""
            return Controller(meta.namespace, owner.kind, owner.name, owner.uid, owner.api_version, template)
    return Controller(meta.namespace, "Pod", meta.name, "", "v1", "")


def _without_node(affinity: Affinity) -> Affinity | None:
    """*affinity* without the name of the node, which the DaemonSet controller puts into each term of each Pod."""
    required = affinity.node_affinity.required if affinity.node_affinity else None
    terms = required.node_selector_terms if required else None
    kept = tuple(Term(match_expressions=term.match_expressions) for term in terms or ())
    if not all(term.match_expressions for term in kept):
        return None
    return Affinity(NodeAffinity(Required(kept))) if kept else affinity
