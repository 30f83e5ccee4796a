"""Asks the Pod question for shapes of Pods and profiles of nodes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from probe.fleet.fold import Shape
from probe.fleet.nodes import Nodes
from probe.pod.judge import judge
from probe.pod.model import Claim, Judgement, Node, Pod

ADMITTED = "admitted"
"""Stands for the uid of a Pod that the API server has admitted."""
KEPT = 4096
"""Judgements that are kept, of a few kB each."""
_NOBODY = Node(told_by="annotations")


class Judge:
    """The Pod question for shapes and profiles; each pair is asked once."""

    def __init__(self, nodes: Nodes, handlers: Mapping[str, str] | None, classes: dict[str, Claim]) -> None:
        """*handlers*: RuntimeClass -> handler; None: not known."""
        self._profiles, self._handlers, self._classes = nodes.profiles, handlers, classes
        self._known: dict[tuple[bytes, int], Judgement] = {}
        self._keys: dict[int, bytes] = {}

    def __call__(self, index: int, shape: Shape, profile: int) -> Judgement:
        """The judgement of *shape*, whose index is *index*; *profile* -1: of a node of which nothing is known."""
        if index not in self._keys:
            self._keys[index] = blake2b(
                msgspec.msgpack.encode((shape.spec, shape.claims, shape.devices)), digest_size=16
            ).digest()
        key = self._keys[index], profile
        if key not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = judge(self._pod(shape), self._profiles[profile] if profile >= 0 else _NOBODY)
        return self._known[key]

    def _pod(self, shape: Shape) -> Pod:
        name = shape.spec.runtime_class_name
        return Pod(
            spec=shape.spec if shape.spec.host_users is False else replace(shape.spec, host_users=None),
            uid=ADMITTED,
            assume=True,
            handler=self._handlers.get(name) if self._handlers is not None and name else None,
            devices=dict.fromkeys(shape.devices, ""),
            claims=shape.claims,
            classes=self._classes,
        )
