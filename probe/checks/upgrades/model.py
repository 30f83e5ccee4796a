"""Types of what an upgrade changes."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Component = Literal["kernel", "kubernetes", "containerd", "cri-o"]
Version = tuple[int, ...]
Effect = Literal["starts", "stops", "unknown"]


class Step(Struct, frozen=True, kw_only=True):
    """One thing that starts or stops to work with a version."""

    component: Component
    version: str
    """First version with the effect; of a downgrade the first one that works."""
    effect: Effect
    """`unknown`: the version is needed, and does not decide alone."""
    subject: str
    """Role, file system, level or id of a finding of the Report."""
    why: str
    source: str


class Target(Struct, frozen=True, kw_only=True):
    """Versions to judge; an empty one: every newer version is of interest."""

    kernel: str = ""
    kubernetes: str = ""
    containerd: str = ""
    crio: str = ""


def reached(now: Version | None, since: Version, target: Version | None) -> bool:
    """True when the way from *now* to *target* passes *since*; without a target, when *since* is newer than *now*."""
    if now is None or (target is not None and target < since):
        return False
    return now < since
