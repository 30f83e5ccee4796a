"""Volumes: PersistentVolumes and StorageClasses as the Pod question asks for them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from probe.fleet import wire
from probe.pod.model import Claim
from probe.pod.objects import is_shared
from probe.pod.spec import PersistentVolumeSpec, Term
from probe.tables.drivers import says_nfs

_ENOUGH = 6
"""Names of volumes of one class that are kept: one more than a reason has."""


class Volumes:
    """PersistentVolumes by the claim that they are bound to; equal ones are held once."""

    def __init__(self) -> None:
        self.claims: dict[tuple[str, str], Claim] = {}
        self.terms: dict[tuple[str, str], tuple[Term, ...]] = {}
        """Claim -> terms of its volume's required node affinity."""
        self.unclaimed: dict[str, tuple[str, ...]] = {}
        """Name of a StorageClass -> some of its volumes that no claim has."""
        self._known: dict[bytes, Claim] = {}
        self._terms: dict[tuple[Term, ...], tuple[Term, ...]] = {}

    def add(self, volumes: list[wire.PersistentVolume]) -> None:
        """Fold a page."""
        for volume in volumes:
            storage = volume.spec.storage_class_name or ""
            if volume.spec.claim_ref is None and len(names := self.unclaimed.get(storage, ())) < _ENOUGH:
                self.unclaimed[storage] = (*names, volume.metadata.name)
            if volume.spec.claim_ref is not None:
                name = volume.spec.claim_ref.namespace, volume.spec.claim_ref.name
                claim = _claim(volume.spec)
                claim = self._known.setdefault(msgspec.msgpack.encode(claim), claim)
                self.claims[name] = claim
                if volume.spec.node_affinity and volume.spec.node_affinity.required:
                    terms = volume.spec.node_affinity.required.node_selector_terms or ()
                    self.terms[name] = self._terms.setdefault(terms, terms)

    def clear(self) -> None:
        """Forget those that claims have."""
        self.claims.clear()
        self.terms.clear()


def _claim(spec: wire.VolumeSpec) -> Claim:
    """The part of *spec* for the Pod question, without what differs between equal volumes: paths and attributes."""
    sources = {name: getattr(spec, name) for name in PersistentVolumeSpec.__struct_fields__}
    if spec.csi is not None:
        sources["csi"] = replace(spec.csi, volume_attributes=None)
    for name in ("local", "host_path"):
        if sources[name] is not None:
            sources[name] = replace(sources[name], path="")
    shared = says_nfs(spec.csi.volume_attributes if spec.csi else None) or is_shared(spec.access_modes)
    return Claim(block=spec.volume_mode == "Block", shared=shared, volume=PersistentVolumeSpec(**sources))


def classes_of(classes: list[wire.StorageClass], unclaimed: Mapping[str, tuple[str, ...]]) -> dict[str, Claim]:
    """Name of a StorageClass -> what its claims will be; the empty name is the default class.

    *unclaimed*: name of a StorageClass -> volumes that its claims may get.
    """
    found = {}
    for one in classes:
        parameters = {key.lower(): value for key, value in (one.parameters or {}).items()}  # drivers take any case
        fstype = parameters.get("csi.storage.k8s.io/fstype") or parameters.get("fstype") or ""
        shared = says_nfs(parameters) or None
        found[one.metadata.name] = Claim(
            provisioner=one.provisioner, fstype=fstype, shared=shared, unclaimed=unclaimed.get(one.metadata.name, ())
        )
        if (one.metadata.annotations or {}).get("storageclass.kubernetes.io/is-default-class") == "true":
            found[""] = found[one.metadata.name]
    return found
