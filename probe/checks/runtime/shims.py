"""Shims of containerd, and the monitor and pinns of CRI-O, which run for each Pod."""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.remedies.around import INSTALL_THE_NEEDED
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import handler_around, is_containerd, surroundings_of, told_by
from probe.facts.around import NEEDS
from probe.facts.model import Facts
from probe.finding import Evidence


def check_shim(facts: Facts, handler: str) -> Outcome:
    """Containerd runs a shim for each Pod, which runs the OCI runtime; CRI-O runs pinns and a monitor."""
    around, own = surroundings_of(facts), handler_around(facts, handler)
    crio = told_by(facts).value == "cri-o"
    what = "pinns or its monitor" if crio else "its shim"
    if around.value is None:
        return Outcome.not_read(f"whether the runtime finds {what}", around)
    if own is None or own.shim.kind == "not-tried":
        return Outcome.skipped("this runtime reports no shim or monitor for this handler", told_by(facts))
    if own.shim.kind == "absent":
        message = f"the runtime cannot execute {what}: {own.shim.problem}"
        remediation = INSTALL_THE_NEEDED if f" {NEEDS}" in own.shim.problem else ""
        return Outcome.fail("MonitorMissing" if crio else "ShimMissing", message, own.shim, remediation=remediation)
    if own.shim.value is None:
        return Outcome.not_read(f"whether the runtime finds {what}", own.shim)
    return Outcome.passed(f"the runtime finds {inline(own.shim.value)}", own.shim)


def check_preloaded(facts: Facts, handler: str) -> Outcome:
    """Fail when the dynamic linker complains on stderr of each shim: containerd reads an address there.

    *Source*: ld.so(8), LD_PRELOAD; containerd, core/runtime/v2/binary.go, `CombinedOutput`.
    """
    around, own = surroundings_of(facts), handler_around(facts, handler)
    if around.value is None:
        return Outcome.not_read("whether shims start without warnings", around)
    missing = around.value.missing_libraries
    if not missing or own is None or not is_containerd(facts):
        return Outcome.skipped("LD_PRELOAD of the runtime names no missing library", told_by(facts))
    seen = Evidence("LD_PRELOAD of the runtime", missing[0], "does not exist")
    if own.shim.value is None or own.shim.value not in around.value.linked_shims:
        return Outcome.warn(f"LD_PRELOAD of the runtime names {inline(missing[0])}, which does not exist", seen)
    message = (
        f"LD_PRELOAD of containerd names {inline(missing[0])}, which does not exist: containerd takes ld.so's warning "
        "for the address of its shim"
    )
    return Outcome.fail("PreloadMissing", message, seen)


def check_shim_cgroup(facts: Facts, handler: str) -> Outcome:
    """Fail when the cgroup that `ShimCgroup` of containerd's configuration names does not exist: no shim makes it."""
    own = handler_around(facts, handler)
    if own is None or own.shim_cgroup.kind == "not-tried":
        return Outcome.skipped("no cgroup is configured for shims of this handler", told_by(facts))
    if own.shim_cgroup.kind == "absent":
        message = f"each shim joins the cgroup {inline(own.shim_cgroup.source)} (ShimCgroup), which does not exist"
        return Outcome.fail("ShimCgroupMissing", message, own.shim_cgroup)
    if own.shim_cgroup.value is None:
        return Outcome.not_read("whether the cgroup of shims exists", own.shim_cgroup)
    return Outcome.passed("the cgroup of shims exists", own.shim_cgroup)
