"""Facts that nested containers need."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from probe.facts.tried import StepResult, Tried
from probe.reading import Reading

SOURCE = "nested trial"


class NestedStep(Tried[StepResult], frozen=True, kw_only=True):
    """One thing that a builder or an engine does inside a Pod."""

    name: str
    seconds: float = 0.0


class NestedTrial(Struct, frozen=True, kw_only=True):
    """The whole trial: every step, in the order of execution."""

    steps: tuple[NestedStep, ...]
    seconds: float

    def step(self, name: str) -> NestedStep:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


class NestedFacts(Struct, frozen=True, kw_only=True):
    """Result of the trial, and settings of the node that no trial shows."""

    trial: Reading[NestedTrial]
    inotify_instances: Reading[int]
    """`fs.inotify.max_user_instances`."""
    controllers: Reading[tuple[str, ...]]
    """Controllers of cgroup v2 that the kubelet gives to Pods."""
    max_descendants: Reading[str]
    """`cgroup.max.descendants` of the cgroup of all Pods: a number or `max`."""
    fuse_mode: Reading[int]
    """Permission bits of /dev/fuse."""
    tun_mode: Reading[int]
    """Permission bits of /dev/net/tun."""
    device_plugins: Reading[tuple[str, ...]]
    """Sockets of device plugins, without the kubelet's own."""


def unknown_nested(problem: Reading[Any]) -> NestedFacts:
    """Facts in which every reading has the problem of *problem*."""
    return NestedFacts(**dict.fromkeys(NestedFacts.__struct_fields__, problem))
