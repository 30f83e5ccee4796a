"""The fields that Pod Security no longer asks of a Pod with `hostUsers: false`, by the version of the policy.

The version is that of the namespace's label `pod-security.kubernetes.io/enforce-version`; `latest` is the API server's.
*Source*: k8s.io/pod-security-admission policy/check_*.go; kubernetes/kubernetes#132157, #135305.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from probe.tables.gates import POD_SECURITY, Version

SINCE: Version = (1, 35)
"""The first version of the policy that takes a user namespace into account, whatever gates say."""
LEVELS = ("privileged", "baseline", "restricted")
Asked = Literal["relaxed", "gate", "asked"]
"""`gate`: relaxed only where the API server has the gate POD_SECURITY on, which nothing shows."""


class Control(Struct, frozen=True, kw_only=True):
    """One control of a level of Pod Security."""

    level: str
    field: str
    without: str
    """What it asks of a Pod with the node's users."""
    relaxed: str = ""
    """What it asks with a user namespace, from policy version SINCE on; empty: the same."""
    gate_since: Version | None = None
    """The first version with the gate that relaxed it before."""
    source: str

    def asked(self, version: Version) -> Asked:
        """The answer of policies of *version*: whether they still ask it of a Pod with a user namespace."""
        if not self.relaxed:
            return "asked"
        if version >= SINCE:
            return "relaxed"
        return "gate" if self.gate_since is not None and version >= self.gate_since else "asked"


_GATE = POD_SECURITY.stages[0].since

CONTROLS: tuple[Control, ...] = (
    Control(
        level="baseline",
        field="procMount",
        without="Default",
        relaxed="Default or Unmasked",
        gate_since=(1, 31),
        source="check_procMount.go",
    ),
    Control(
        level="restricted",
        field="runAsNonRoot",
        without="true",
        relaxed="anything",
        gate_since=_GATE,
        source="check_runAsNonRoot.go",
    ),
    Control(
        level="restricted",
        field="runAsUser",
        without="not 0",
        relaxed="anything",
        gate_since=_GATE,
        source="check_runAsUser.go",
    ),
    Control(level="restricted", field="procMount", without="Default", source="check_procMount.go"),
    Control(
        level="baseline, restricted",
        field="capabilities, privileged, hostPath, host namespaces and ports, seccomp, AppArmor, SELinux, sysctls",
        without="as ever",
        source="check_capabilities_baseline.go and the others",
    ),
)
"""Controls that a user namespace changes, and those that people expect it to."""
WORDS = {
    "baseline": "procMount Unmasked is allowed",
    "restricted": "runAsNonRoot and runAsUser are not required",
}
"""Level -> what is relaxed, in a sentence."""


def asked(level: str, version: Version) -> Asked:
    """The answer of *level* in policies of *version* for all that it can relax of a Pod with a user namespace."""
    found = {one.asked(version) for one in CONTROLS if one.level == level and one.relaxed}
    return "relaxed" if "relaxed" in found else "gate" if "gate" in found else "asked"
