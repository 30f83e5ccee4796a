"""Table of the behaviour of kubelet versions for `hostUsers: false`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from probe.tables.gates import STATELESS, SUPPORT

GATE = SUPPORT.name


class VersionRule(Struct, frozen=True):
    """Behaviour from one minor version until the next row."""

    since: tuple[int, int]
    gate: str
    """Name of the feature gate; empty before it existed."""
    stage: Literal["", "alpha", "beta", "stable"]
    default: bool
    locked: bool
    """True when the gate is locked: the kubelet does not start with another value."""
    unable: Literal["ignores", "refuses"]
    """Reaction to `hostUsers: false` without support: `ignores` runs the Pod in the host's user namespace."""
    source: str


_REFUSES_SINCE = (1, 30)  # KEP-127: from then on the kubelet asks CRI first
VERSION_RULES = (
    VersionRule((0, 0), "", "", False, False, "ignores", "spec.hostUsers is unknown before 1.25"),
    *(
        VersionRule(
            since=stage.since,
            gate=gate.name,
            stage=stage.stage,
            default=bool(stage.default),
            locked=stage.locked,
            unable="refuses" if stage.since >= _REFUSES_SINCE else "ignores",
            source=stage.source,
        )
        for gate in (STATELESS, SUPPORT)
        for stage in gate.stages
    ),
)
"""The stages of its gate, with what the kubelet does without support."""

FAIL_CGROUP_V1_SINCE = (1, 35)  # KubeletConfiguration v1beta1, failCgroupV1; the field exists since 1.31
_IDS_PER_POD_SINCE = (1, 33)  # KubeletConfiguration v1beta1, userNamespaces.idsPerPod
_PRINTED = re.compile(r"(?:Kubernetes|k3s version) v([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,5}[0-9A-Za-z.+~_-]{0,60})(?:\s|$)")
_RELEASE = re.compile(r"v?([0-9]{1,3})\.([0-9]{1,3})(?:\.|$)")


def parse_version(output: str) -> str:
    """Version in the output of `--version`: `Kubernetes v1.36.2`, `k3s version v1.33.1+k3s1 (99d91538)`.

    *Errors*: ValueError for other text, and for `v0.0.0-master+…` of a build without Kubernetes' own linker flags.
    """
    found = _PRINTED.match(output)
    if not found:
        raise ValueError(f"no Kubernetes version in {output[:80]!r}")
    if found[1].startswith("0."):
        raise ValueError(f"was built without its version: {output[:80]!r}")
    return found[1]


def parse_release(version: str) -> tuple[int, int]:
    """(major, minor) of a version: (1, 33) for `1.33.1+k3s1`."""
    found = _RELEASE.match(version)
    if not found:
        raise ValueError(f"no version: {version[:80]!r}")
    return int(found[1]), int(found[2])


def version_rule(release: tuple[int, int]) -> VersionRule:
    """Row of the table for a kubelet of *release*."""
    return next(rule for rule in reversed(VERSION_RULES) if rule.since <= release)


def gate_in_force(rule: VersionRule, gates: Mapping[str, bool]) -> bool:
    """True when the gate is on with *gates* set by flags and files.

    *Source*: component-base, featuregate: AllAlpha and AllBeta change only gates not set by name.
    """
    if rule.locked or not rule.gate:
        return rule.locked
    umbrella = {"alpha": "AllAlpha", "beta": "AllBeta"}.get(rule.stage, "")
    return gates.get(rule.gate, gates.get(umbrella, rule.default))


def fails_on_cgroup_v1(release: tuple[int, int]) -> bool:
    """Default of `failCgroupV1`."""
    return release >= FAIL_CGROUP_V1_SINCE


def knows_ids_per_pod(release: tuple[int, int]) -> bool:
    """True when the kubelet of *release* reads `userNamespaces.idsPerPod`."""
    return release >= _IDS_PER_POD_SINCE
