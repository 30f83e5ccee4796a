"""Owners: from the direct controller of Pods to the workload that people know. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from probe.fleet import wire
from probe.fleet.fold import Controller

ABOVE = {"ReplicaSet": "apps/", "Job": "batch/"}
"""Kinds that a controller of another kind may own, and their API group."""

Resolved = Literal["owner", "name", "pod", "mirror"]


class Workload(Struct, frozen=True, gc=False):
    """The topmost known controller of Pods."""

    namespace: str
    kind: str
    name: str


class Owners:
    """Controllers of the ReplicaSets and Jobs that have Pods."""

    def __init__(self, controllers: Iterable[Controller]) -> None:
        self._wanted = {one.uid for one in controllers if one.group.startswith(ABOVE.get(one.kind, "-"))}
        self._above: dict[str, tuple[str, str] | None] = {}

    def add(self, objects: list[wire.OwnedObject]) -> None:
        """Fold a page of ReplicaSets or Jobs; most of them have no Pods."""
        for one in objects:
            if one.metadata.uid in self._wanted:
                self._above[one.metadata.uid] = _controller(one.metadata.owner_references)

    def workload(self, controller: Controller) -> Workload:
        """The workload of *controller*."""
        kind, name = controller.kind, controller.name
        suffix = f"-{controller.hash}"
        if controller.uid in self._above:
            kind, name = self._above[controller.uid] or (kind, name)
        elif self.resolved(controller) == "name" and kind == "ReplicaSet" and controller.hash and name.endswith(suffix):
            kind, name = "Deployment", name.removesuffix(suffix)
        return Workload(controller.namespace, kind, name)

    def resolved(self, controller: Controller) -> Resolved:
        """Way from *controller* to its workload; see WorkloadRow.resolved."""
        if controller.kind in ("Pod", "StaticPod"):
            return "pod" if controller.kind == "Pod" else "mirror"
        has_above = controller.group.startswith(ABOVE.get(controller.kind, "-"))
        return "name" if has_above and controller.uid not in self._above else "owner"


def _controller(owners: Iterable[wire.Owner] | None) -> tuple[str, str] | None:
    return next(((one.kind, one.name) for one in owners or () if one.controller), None)


def by_workload(owners: Owners, controllers: list[Controller]) -> Mapping[Workload, list[int]]:
    """Workload -> indexes of its controllers: the ReplicaSets of a Deployment, the Jobs of a CronJob."""
    found: dict[Workload, list[int]] = {}
    for index, controller in enumerate(controllers):
        found.setdefault(owners.workload(controller), []).append(index)
    return found
