"""Can Pods inside the Pod have volumes with ID mappings?"""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, evidence_of, judge
from probe.facts.model import Facts
from probe.nested import PodRequest

_TMPFS = PodRequest(
    "tmpfs", "/var/lib/kubelet", "an emptyDir has an ID mapping already, and the kernel refuses a second one (EPERM)"
)


def check_idmap_again(facts: Facts, handler: str) -> NestedOutcome:
    """Idmap a volume again from inside the Pod: refused for mounts of the runtime, accepted for the Pod's own."""
    trial = facts.nested.trial
    if trial.value is None:
        return judge(Outcome.not_read("whether inner Pods can have ID mappings", trial), _TMPFS)
    own, volume = trial.value.step("idmap of a tmpfs"), trial.value.step("idmap of a volume")
    seen = evidence_of(own, volume)
    if own.result == "failed":
        message = f"{own.name}: the kernel answers {own.errno}, so no inner Pod can have hostUsers: false"
        remediation = "Boot Linux 6.3 or newer, which can idmap tmpfs."
        return judge(Outcome.fail("NestedIdmapRefused", message, seen, remediation=remediation), _TMPFS)
    if own.result != "passed":
        message = f"unknown whether {own.name} works: {own.reason}"
        return judge(Outcome.unknown(own.kind or "not-tried", message, seen), _TMPFS)
    if volume.result == "passed":
        return judge(Outcome.passed("inner Pods can have ID mappings on every volume of the Pod", seen))
    message = "inner Pods can have ID mappings on a tmpfs mounted inside, but not on a volume of the outer Pod"
    return judge(Outcome.warn(message, seen), _TMPFS)


CHECKS = (
    NestedCheck(
        id="nested-idmap-again",
        levels=("inner-userns",),
        question="Can Pods inside the Pod have volumes with ID mappings?",
        why="An inner kubelet maps the IDs of each volume, as the outer one does; its directory must not lie on a "
        "volume that has a mapping.",
        reasons=("NestedIdmapRefused",),
        documentation="mount_setattr(2), MOUNT_ATTR_IDMAP",
        check=check_idmap_again,
    ),
)
