"""Faults of versions that a node shows only later: after a restart, with many Pods, or with certain images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec import Struct

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.runtime.names import find_handler, handlers_told, no_runtime, oci_name, runtime_name
from probe.facts.model import Facts, RuntimeFacts
from probe.facts.runtime.oci import is_prerelease, parse_version_number
from probe.finding import Evidence

Version = tuple[int, int, int]

LEAKED_MOUNTS = 16
"""Mounts `ovl-idmapped*` that starting Pods do not explain: each lives for a moment."""


class Fault(Struct, frozen=True, kw_only=True):
    """The releases of a program that have a fault."""

    program: str
    """CRI's `runtime_name`: `containerd`, `cri-o`."""
    since: Version
    """First release that has it."""
    fixed: dict[tuple[int, int], int] = {}
    """Release branch -> first patch release without it."""
    seen_to: dict[tuple[int, int], int] = {}
    """Release branch -> last patch release in which it was seen, where no fixed one is known."""
    gone: tuple[int, int]
    """First release branch that never had it."""

    def affects(self, version: Version) -> bool | None:
        """True when *version* has it; None for a release that was not examined."""
        branch = version[:2]
        if version < self.since or branch >= self.gone:
            return False
        if branch in self.fixed:
            return version[2] < self.fixed[branch]
        return None if version[2] > self.seen_to.get(branch, version[2]) else True


CRIO_RESTART = Fault(
    program="cri-o",
    since=(1, 30, 0),
    fixed={(1, 35): 6},
    seen_to={(1, 33): 14, (1, 34): 11, (1, 36): 3},
    gone=(1, 37),
)
LEAKS = Fault(program="containerd", since=(2, 0, 0), fixed={(2, 0): 7, (2, 1): 5}, gone=(2, 2))
IMAGE_VOLUMES = Fault(program="containerd", since=(2, 1, 0), fixed={(2, 1): 7, (2, 2): 2}, gone=(2, 3))
"""Volumes of type image are not mapped. *Source*: containerd's release notes."""
IMAGE_DECLARED_VOLUMES = Fault(program="containerd", since=(2, 0, 0), fixed={(2, 0): 7, (2, 1): 5}, gone=(2, 2))


def check_fault(facts: Facts, fault: Fault, what: str, message: str, check_id: str) -> Outcome:
    """Finding about *fault* in the container runtime; *message* continues the runtime's name with the consequence."""
    found = version_of(facts, fault.program, what)
    if isinstance(found, Outcome):
        return found
    runtime, version = found
    if unsure := before_fix(fault, runtime, version, what):
        return unsure
    affected = fault.affects(version)
    if affected is None:
        message = f"unknown {what}: {runtime_name(runtime)} is newer than the releases in which the fault was seen"
        return Outcome.unknown("not-tried", message, runtime.version)
    if not affected:
        return Outcome.passed(f"{runtime_name(runtime)} does not have this fault", runtime.version)
    return Outcome.warn(f"{runtime_name(runtime)} {message}", runtime.version, remediation=GENERIC[check_id])


def check_crun_modes(facts: Facts, name: str = "") -> Outcome:
    """Crun 1.29 gives mounts inside the container the mode of the node's /proc and /sys."""
    what = "whether the handler has crun 1.29"
    if facts.runtime.value is None:
        return no_runtime(facts, what)
    if facts.runtime.value.handlers.value is None:
        return Outcome.not_read(what, facts.runtime.value.handlers)
    handler = find_handler(facts, name)
    if handler is None or handler.binary.kind == "absent":
        return Outcome.skipped("this handler runs no OCI runtime like crun", handlers_told(facts.runtime.value))
    for reading in (handler.oci_runtime, handler.oci_version):
        if reading.value is None:
            return Outcome.not_read(what, reading)
    if handler.oci_runtime.value != "crun" or parse_version_number(handler.oci_version.value or "") != (1, 29, 0):
        return Outcome.passed(f"{oci_name(handler)} does not have this fault", handler.oci_version)
    return Outcome.warn(
        f"{oci_name(handler)} gives /dev/shm and other mounts of a container the mode that they have on the node: in a "
        "Pod with a user namespace, programs other than root's fail with “permission denied”",
        handler.oci_version,
        remediation=GENERIC["hazard-crun-modes"],
    )


def check_leaked_mounts(facts: Facts) -> Outcome:
    """Containerd mounts each layer idmapped for a moment; what is left of that adds up until mounts are refused."""
    what = "whether containerd leaks mounts of layers"
    if facts.mounts.value is None:
        return Outcome.not_read(what, facts.mounts)
    left = facts.mounts.value.idmapped_layers
    seen = Evidence(facts.mounts.source, f"{left} mounts ovl-idmapped*")
    found = version_of(facts, LEAKS.program, what)
    if isinstance(found, Outcome):
        return found
    runtime, version = found
    if left >= LEAKED_MOUNTS:
        message = f"containerd left {left} idmapped mounts of layers behind: at fs.mount-max no further Pod starts"
        return Outcome.warn(message, seen, runtime.version, remediation=GENERIC["hazard-leaked-mounts"])
    if unsure := before_fix(LEAKS, runtime, version, what):
        return unsure
    if LEAKS.affects(version):
        message = f"{runtime_name(runtime)} can leave a mount behind for each layer of each Pod, up to fs.mount-max"
        return Outcome.warn(message, runtime.version, seen, remediation=GENERIC["hazard-leaked-mounts"])
    return Outcome.passed("containerd leaves no mounts of layers behind", runtime.version, seen)


def version_of(facts: Facts, program: str, what: str) -> tuple[RuntimeFacts, Version] | Outcome:
    """The container runtime with its version, or the outcome where it is another program or unknown."""
    runtime = facts.runtime.value
    if runtime is None:
        return no_runtime(facts, what)
    for reading in (runtime.name, runtime.version):
        if reading.value is None:
            return Outcome.not_read(what, reading)
    if runtime.name.value != program:
        return Outcome.skipped(f"only {program} had this fault", runtime.name)
    number = parse_version_number(runtime.version.value or "")
    if number is None:
        return Outcome.unknown("not-readable", f"unknown {what}: {program} reports no version", runtime.version)
    return runtime, number


def before_fix(fault: Fault, runtime: RuntimeFacts, version: Version, what: str) -> Outcome | None:
    """Unknown for a prerelease of the first release of its branch without *fault*, which may have it; else None."""
    if not is_prerelease(runtime.version.value or "") or version[2] != fault.fixed.get(version[:2]):
        return None
    message = f"unknown {what}: {runtime_name(runtime)} is older than the release without the fault"
    return Outcome.unknown("not-tried", message, runtime.version)


def _of(check_id: str, fault: Fault, what: str, message: str) -> Callable[[Facts], Outcome]:
    return partial(check_fault, fault=fault, what=what, message=message, check_id=check_id)


CHECKS = (
    Check(
        id="hazard-crio-restart",
        level="stateless",
        gating=False,
        question="Do containers of Pods with a user namespace survive a restart of CRI-O?",
        why="After a restart of CRI-O, faulty releases restart the containers of such Pods without their ID mappings: "
        "a healthy node breaks at its next upgrade of CRI-O.",
        remediation=GENERIC["hazard-crio-restart"],
        documentation="https://github.com/cri-o/cri-o/pull/10075",
        check=_of(
            "hazard-crio-restart",
            CRIO_RESTART,
            "whether containers survive a restart of CRI-O",
            "forgets ID mappings when it restarts: after that, restarted containers of Pods with a user namespace "
            "fail with “permission denied”",
        ),
    ),
    Check(
        id="hazard-declared-volumes",
        level="stateless",
        gating=False,
        question="Do images that declare a VOLUME work in Pods with a user namespace?",
        why="containerd copies the image's files at each VOLUME of its Dockerfile; faulty releases give the copies the "
        "wrong owner.",
        remediation=GENERIC["hazard-declared-volumes"],
        documentation="https://github.com/containerd/containerd/pull/12218",
        check=_of(
            "hazard-declared-volumes",
            IMAGE_DECLARED_VOLUMES,
            "whether images with a VOLUME work",
            "copies the files of an image's VOLUME with the node's owners: in a Pod with a user namespace they belong "
            "to nobody",
        ),
    ),
    Check(
        id="hazard-crun-modes",
        level="stateless",
        gating=False,
        question="Is the node free of crun 1.29?",
        why="crun 1.29 gives new mounts in the container the mode of the node's directories. 1.28 and 1.29.1 do not.",
        remediation=GENERIC["hazard-crun-modes"],
        documentation="crun's release notes of 1.29.1",
        check=check_crun_modes,
        per_handler=check_crun_modes,
    ),
    Check(
        id="hazard-leaked-mounts",
        level="stateless",
        gating=False,
        question="Does containerd remove all mounts that it makes for layers?",
        why="For a Pod with a user namespace, containerd briefly mounts each layer idmapped. Before 2.0.7 and 2.1.5 "
        "some of these mounts stay, until the kernel refuses the next one.",
        remediation=GENERIC["hazard-leaked-mounts"],
        documentation="https://github.com/containerd/containerd/issues/12139",
        check=check_leaked_mounts,
    ),
)
