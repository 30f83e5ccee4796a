"""Types of what is said of nested containers, and the verdict of each level from its findings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from msgspec import Struct

from probe.finding import Evidence
from probe.terms import Status
from probe.verdict import Verdict

NestedLevel = Literal["build", "engine", "system", "rootless", "inner-userns"]
"""Levels of what works inside a Pod with `hostUsers: false`.

`build`: a builder that runs as the Pod's root; `engine`: also dockerd, with networks and limits; `system`: also systemd
as process 1, and Kubernetes. Not above these `rootless`: an engine in a user namespace of its own, and `inner-userns`:
Pods in the Pod that have `hostUsers: false` themselves.
"""
NESTED_LEVELS: tuple[NestedLevel, ...] = get_args(NestedLevel)
INCLUDED: dict[NestedLevel, tuple[NestedLevel, ...]] = {
    "build": ("build",),
    "engine": ("build", "engine"),
    "system": ("build", "engine", "system"),
    "rootless": ("rootless",),
    "inner-userns": ("inner-userns",),
}
"""The levels whose checks decide a level."""

Field = Literal[
    "capability", "seccomp", "apparmor", "selinux", "proc-mount", "escalation", "volume", "tmpfs", "annotation",
    "runtime-class", "device", "environment", "entrypoint", "subordinate-ids", "file-capability",
]  # fmt: skip
"""The part of a Pod's manifest that a request is about."""


_OF_ROOTLESS: frozenset[Field] = frozenset(("escalation", "file-capability", "subordinate-ids"))
"""What newuidmap(1) needs. The Pod's own root, who runs inner Pods, writes maps itself."""


class PodRequest(Struct, frozen=True):
    """One thing that the Pod must ask for."""

    field: Field
    value: str
    why: str
    """Half a sentence: what fails without it."""


class NestedFinding(Struct, frozen=True, kw_only=True):
    """Outcome of one check of nested containers."""

    id: str
    levels: tuple[NestedLevel, ...]
    """Levels that need all of *pod*."""
    decides: tuple[NestedLevel, ...]
    """Those of *levels* that *status* decides."""
    status: Status
    reason: str
    message: str
    remediation: str
    """Change that the node needs; empty without one."""
    documentation: str
    pod: tuple[PodRequest, ...]
    """Settings that the Pod must ask for, so that *status* holds."""
    evidence: tuple[Evidence, ...]


class NestedVerdict(Struct, frozen=True, kw_only=True):
    """Verdict of one level: `ready` means that a Pod which asks for all of *pod* works on this node as it is."""

    verdict: Verdict
    reason: str
    message: str
    pod: tuple[PodRequest, ...]
    node: str
    """First change that the node needs; empty when ready."""


class NestedHandler(Struct, frozen=True, kw_only=True):
    """Verdicts for Pods whose RuntimeClass names this handler; the empty name is the default handler."""

    name: str
    levels: dict[NestedLevel, Verdict]
    reasons: dict[NestedLevel, str]
    """Reason of each level that is not ready."""


class Nested(Struct, frozen=True, kw_only=True):
    """All that is said of nested containers; none of it decides the node's verdict."""

    levels: dict[NestedLevel, NestedVerdict]
    """Of the default handler."""
    handlers: tuple[NestedHandler, ...]
    findings: tuple[NestedFinding, ...]
    """Of the default handler, one per check."""


class Base(Struct, frozen=True, kw_only=True):
    """Verdict of the node for a handler: nothing is nested where no Pod with a user namespace runs."""

    verdict: Verdict
    reason: str = ""
    message: str = ""
    remediation: str = ""


def conclude_nested(findings: Sequence[NestedFinding], base: Base) -> dict[NestedLevel, NestedVerdict]:
    """Verdict of each level: any `fail` of its checks, or of the node: not ready; else any `unknown`: unknown."""
    return {level: _conclude(level, findings, base) for level in NESTED_LEVELS}


def _conclude(level: NestedLevel, findings: Sequence[NestedFinding], base: Base) -> NestedVerdict:
    included = INCLUDED[level]
    concerned = [one for one in findings if not set(one.levels).isdisjoint(included)]
    deciding = [one for one in concerned if not set(one.decides).isdisjoint(included)]
    left = _OF_ROOTLESS if level != "rootless" else ()
    pod = tuple(dict.fromkeys(each for one in concerned for each in one.pod if each.field not in left))
    failed = next((one for one in deciding if one.status == "fail"), None)
    unknown = next((one for one in deciding if one.status == "unknown"), None)
    if base.verdict == "not-ready":
        return NestedVerdict(
            verdict="not-ready", reason=base.reason, message=base.message, pod=pod, node=base.remediation
        )
    if failed is not None:
        return _of(failed, "not-ready", pod)
    if base.verdict == "unknown":
        return NestedVerdict(
            verdict="unknown", reason=base.reason, message=base.message, pod=pod, node=base.remediation
        )
    if unknown is not None:
        return _of(unknown, "unknown", pod)
    return NestedVerdict(verdict="ready", reason="", message=_READY[level], pod=pod, node="")


def _of(finding: NestedFinding, verdict: Verdict, pod: tuple[PodRequest, ...]) -> NestedVerdict:
    return NestedVerdict(
        verdict=verdict, reason=finding.reason, message=finding.message, pod=pod, node=finding.remediation
    )


_READY: dict[NestedLevel, str] = {
    "build": "images can be built as the Pod's root",
    "engine": "an engine with networks and limits runs as the Pod's root",
    "system": "systemd and Kubernetes run in a Pod",
    "rootless": "a rootless engine runs in a user namespace of its own",
    "inner-userns": "Pods in the Pod can have user namespaces of their own",
}
