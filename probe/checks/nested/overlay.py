"""Can a builder mount an overlay whose layers lie on a volume?"""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, evidence_of, judge, seen_of
from probe.facts.model import Facts
from probe.finding import Evidence
from probe.nested import PodRequest

_STORAGE = PodRequest(
    "volume", "/var/lib/containers", "the kernel refuses an overlay on the overlay that is the container's own root"
)
_VFS = PodRequest("environment", "STORAGE_DRIVER=vfs", "this kernel refuses overlay mounts to a user namespace")


def check_overlay(facts: Facts, handler: str) -> NestedOutcome:
    """The storage of a builder is on an emptyDir, which has an ID mapping; without overlay it copies each layer."""
    trial = facts.nested.trial
    if trial.value is None:
        return judge(Outcome.not_read("whether a builder can use overlay", trial), _STORAGE)
    steps = tuple(map(trial.value.step, ("overlay", "overlay files", "rootless overlay")))
    bad = next((step for step in steps if step.result != "passed"), None)
    if bad is not None and bad.result == "failed":
        message = f"{bad.name}: the kernel answers {bad.errno}; a builder works with the storage driver vfs, but slowly"
        return judge(Outcome.warn(message, evidence_of(*steps)), _STORAGE, _VFS)
    if bad is not None:
        message = f"unknown whether {bad.name} works: {bad.reason}"
        outcome = Outcome.unknown(bad.kind or "not-tried", message, evidence_of(*steps))
        # The steps of a builder as the Pod's root come first: that they work is known here.
        return NestedOutcome(outcome=outcome, pod=(_STORAGE,), decides=("rootless",) if bad is steps[2] else ())
    seen = seen_of(trial.value, "idmapped volume", "overlay", "overlay files", "rootless overlay")
    options = facts.mounts.value.pods_options.value if facts.mounts.value else None
    if "noexec" in (options or ()):
        message = "overlay works; emptyDir volumes are mounted noexec, so a builder with the storage driver vfs fails"
        return judge(Outcome.warn(message, seen, Evidence("options of emptyDir", ",".join(options or ()))), _STORAGE)
    mapped = trial.value.step("idmapped volume").result == "passed"
    where = "a volume with an ID mapping" if mapped else "a tmpfs of the Pod (this kernel cannot idmap tmpfs)"
    return judge(Outcome.passed(f"overlay works on {where}, with owners, whiteouts and renames", seen), _STORAGE)


CHECKS = (
    NestedCheck(
        id="nested-overlay",
        levels=("build", "rootless"),
        question="Can a builder mount an overlay whose layers lie on a volume?",
        why="Builders and engines keep images as layers of an overlay. Without it they copy each layer (storage driver "
        "vfs), or need /dev/fuse.",
        documentation="docs.kernel.org, overlayfs; containers-storage.conf(5)",
        check=check_overlay,
    ),
)
