"""Files and folders that each container with a user namespace needs of the node."""

from __future__ import annotations

import os
import stat

from probe.checks.check import Check, Outcome
from probe.checks.remedies.around import AROUND
from probe.checks.remedies.platforms import inline, quoted
from probe.checks.runtime.around import (
    first_problem,
    is_closed,
    is_containerd,
    is_unclear,
    mode_of,
    oci_runtime_of,
    of_containerd_alone,
    surroundings_of,
)
from probe.facts.around import Place
from probe.facts.model import Facts
from probe.finding import Evidence
from probe.reading import Reading

_DEVICES = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
"""*Source*: Linux allocated devices, Documentation/admin-guide/devices.txt."""
_READ_AND_WRITE = 0o006


def check_state(facts: Facts, handler: str) -> Outcome:
    """Runc makes the root file system private as the Pod's own root; crun does it before it is that."""
    around, what = surroundings_of(facts), "whether Pods reach the runtime's state"
    if around.value is None:
        return Outcome.not_read(what, around)
    if not is_containerd(facts):
        return of_containerd_alone(facts, what, "only containerd leaves the folders above its containers as they are")
    if around.value.state.value is None:
        return Outcome.not_read(what, around.value.state)
    way = around.value.state.value
    closed = [place for place in way if place.value and is_closed(place.value)]
    seen = [mode_of(place.value, place.source) for place in closed or way if place.value]
    sure = [place for place in closed if place.value and not is_unclear(place.value)]
    oci = oci_runtime_of(facts, handler)
    if oci == "crun":
        sure, closed = ([each for each in found if each.source == "/"] for found in (sure, closed))
    if sure and (oci in ("runc", "crun") or sure[0].source == "/"):
        names = ", ".join(inline(place.source) for place in sure)
        remediation = "Let other users search these directories (not list them):\n  chmod o+x " + " ".join(
            quoted(place.source) for place in sure
        )
        message = f"a Pod's own root may not search {names}, so it cannot reach its root file system"
        return Outcome.fail("StateNotSearchable", message, *seen, remediation=remediation)
    if closed:
        why = "its access control list or owner may let Pods in" if not sure else "it depends on the OCI runtime"
        return Outcome.unknown("not-readable", f"unknown whether Pods may search {closed[0].source}: {why}", *seen)
    if problem := first_problem(way):
        return Outcome.not_read(what, problem)
    return Outcome.passed("other users may search each directory above the containers", *seen)


def check_devices(facts: Facts, handler: str) -> Outcome:
    """In a user namespace no device node can be made, so those of the node are bound."""
    around = surroundings_of(facts)
    if around.value is None:
        return Outcome.not_read("which device nodes the runtime has", around)
    oci, dev = oci_runtime_of(facts, handler), around.value.dev
    wrong: dict[str, str] = {}
    weak: dict[str, str] = {}
    looked_at = {found.source: found for found in around.value.devices}
    for name, number in _DEVICES.items():
        found = looked_at.get(f"/dev/{name}", Reading.without(f"/dev/{name}", "not-tried", "not looked at"))
        if found.value is None and found.kind != "absent":
            return Outcome.not_read("which device nodes the runtime has", found)
        if found.value is None or not stat.S_ISCHR(found.value.mode):
            wrong[found.source] = "does not exist" if found.value is None else "is not a device"
        elif why := _why_weak(found.value, number):
            weak[found.source] = why
    seen = [Evidence(path, why) for path, why in (wrong | weak).items()]
    if wrong:
        message = f"{_words(wrong)}: each container with a user namespace gets it from the node"
        return Outcome.fail("DeviceMissing", message, *seen)
    if dev.value and is_closed(dev.value) and not is_unclear(dev.value) and oci in ("runc", "crun"):
        message = f"a Pod's own root may not search /dev, from which {oci} binds each container's device nodes"
        return Outcome.fail("DeviceMissing", message, mode_of(dev.value, "/dev"))
    if stops := _who_is_stopped(facts, oci, weak.get("/dev/null", "")):
        return Outcome.fail("DeviceMissing", f"{_words(weak)}: {stops} cannot open it", *seen)
    if weak:
        return Outcome.warn(f"{_words(weak)}: programs in Pods cannot open it", *seen)
    return Outcome.passed(
        "the runtime has the six device nodes of each container", Evidence("/dev", "six device nodes")
    )


def _why_weak(place: Place, number: str) -> str:
    """Reason why a device node is of no use to the programs of a Pod; empty for a good one."""
    if place.device != number:
        return f"is device {place.device} instead of {number}"
    if place.flags & os.ST_NODEV:
        return "lies on a mount with nodev"
    return "" if place.mode & _READ_AND_WRITE == _READ_AND_WRITE else f"has mode {place.mode & 0o777:04o}"


def _who_is_stopped(facts: Facts, oci: str, why: str) -> str:
    """The program that fails without a good /dev/null: as node's root the shim, as the Pod's own root the OCI runtime.

    Another device in its place is noticed by runc alone.
    """
    if "nodev" in why and is_containerd(facts):
        return "containerd's shim"
    return oci if why and (oci == "runc" or (oci == "crun" and "has mode" in why)) else ""


def _words(wrong: dict[str, str]) -> str:
    return ", ".join(f"{path} {why}" for path, why in wrong.items())


CHECKS = (
    Check(
        id="runtime-state-search",
        level="stateless",
        gating=True,
        question="May a Pod's own root search each directory above its root file system?",
        why="On the node, root of a Pod with a user namespace is one of the others. runc needs to find the container's "
        "root file system as that root: a folder with mode 0700 on the way stops each such Pod, and no other.",
        reasons=("StateNotSearchable",),
        remediation=AROUND["runtime-state-search"],
        documentation="path_resolution(7), https://github.com/containerd/containerd/issues/6040",
        check=lambda facts: check_state(facts, ""),
        per_handler=check_state,
    ),
    Check(
        id="runtime-devices",
        level="stateless",
        gating=False,
        question="Does the node have the device nodes that each container gets?",
        why="For other Pods the runtime makes null, zero, full, random, urandom and tty itself. In a user namespace "
        "mknod(2) is refused, so the node's own are bound, and a missing one stops the Pod.",
        reasons=("DeviceMissing",),
        remediation=AROUND["runtime-devices"],
        documentation="OCI runtime specification, config-linux.md, Default Devices; user_namespaces(7)",
        check=lambda facts: check_devices(facts, ""),
        per_handler=check_devices,
    ),
)
