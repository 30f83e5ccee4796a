"""Helpers of the checks of the daemon's surroundings."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence

import msgspec

from probe.checks.check import NOT_MET, Outcome
from probe.checks.remedies.around import OF_REASON
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.names import find_handler
from probe.facts.around import Daemon, HandlerAround, Place, Surroundings
from probe.facts.defaults import FIRST_POD_ID
from probe.facts.model import Facts
from probe.facts.runtime.oci import parse_version_number
from probe.finding import Evidence
from probe.reading import Reading, problem_of

_OF_THE_KERNEL = re.compile(r"(/proc|/sys(?!/fs/))(?:/|$)")
"""proc and sysfs, in which mkdir(2) answers ENOENT or EPERM; below /sys/fs other file systems are mounted."""
SYS_RESOURCE = 24
"""Number of CAP_SYS_RESOURCE, as capabilities in /proc/PID/status count bits."""


def surroundings_of(facts: Facts) -> Reading[Surroundings]:
    """The surroundings of the container runtime's daemon; a problem where no runtime is known."""
    return facts.runtime.value.surroundings if facts.runtime.value else problem_of(facts.runtime)


def daemon_of(facts: Facts) -> Reading[Daemon]:
    """Limits, capabilities and umask of the runtime's daemon."""
    return surroundings_of(facts).then(lambda around: around.daemon)


def handler_around(facts: Facts, handler: str) -> HandlerAround | None:
    """The needs of *handler* from the base spec and options configured for it; None where the runtime does not tell."""
    around = surroundings_of(facts).value
    return next((one for one in around.handlers if one.name == handler), None) if around else None


def is_containerd(facts: Facts, since: tuple[int, int, int] = (0, 0, 0)) -> bool:
    """True when the runtime is containerd, of that version or newer; one without a version is taken for new."""
    runtime = facts.runtime.value
    if runtime is None or runtime.name.value != "containerd":
        return False
    return (parse_version_number(runtime.version.value or "") or since) >= since


def of_containerd_alone(facts: Facts, what: str, message: str) -> Outcome:
    """Outcome for what no other runtime does: skipped, or *what* is unknown where the runtime did not tell its name."""
    name = facts.runtime.value.name if facts.runtime.value else problem_of(facts.runtime)
    return Outcome.not_read(what, name) if name.value is None else Outcome.skipped(message, name)


def worst(parts: dict[str, Outcome]) -> Outcome:
    """The most serious of *parts*, the outcomes of one check by the reason whose remediation fits a warning.

    Among equals, one that decides the verdict comes first, then one that no Pod of a trial disproves: hidden behind
    another, it would count as little as that one.
    """
    ordered = sorted(
        parts.items(), key=lambda part: (not part[1].decides, not (part[1].stands or part[1].reason in NOT_MET))
    )
    for status in ("fail", "unknown", "warn"):
        for reason, outcome in ordered:
            if outcome.status == status:
                remediation = outcome.remediation or OF_REASON.get(outcome.reason, "")
                remediation = remediation or ("" if status == "unknown" else OF_REASON[reason])
                return msgspec.structs.replace(outcome, remediation=remediation)
    well = [outcome for outcome in parts.values() if outcome.status == "pass"] or list(parts.values())
    message = "; ".join(outcome.message for outcome in well)
    evidence = tuple(dict.fromkeys(each for outcome in parts.values() for each in outcome.evidence))
    return msgspec.structs.replace(well[0], message=message, evidence=evidence)


def told_by(facts: Facts) -> Evidence:
    """Evidence for a skipped check: the name of the runtime that the kubelet talks to."""
    name = facts.runtime.value.name if facts.runtime.value else problem_of(facts.runtime)
    return Evidence(name.source, name.value or "", name.problem)


def oci_runtime_of(facts: Facts, handler: str) -> str:
    """The OCI runtime of *handler*, `runc` or `crun`; empty when it is not known."""
    found = find_handler(facts, handler)
    return (found.oci_runtime.value if found else None) or ""


def is_closed(place: Place) -> bool:
    """True when the mode keeps a Pod's mapped root from searching this directory: others lack the execute bit."""
    return not place.mode & 0o001


def why_nobody_starts(way: Sequence[Reading[Place]]) -> str:
    """Reason why not even root of the node may start a program, as the end of a sentence; empty when it may.

    *way*: the program, then each folder above it, and the same of what starts it. *Source*: execve(2), EACCES.
    """
    for step in way:
        if step.value and (step is way[0] or not stat.S_ISDIR(step.value.mode)) and (why := _why(step.value)):
            return why if step is way[0] else f"needs {inline(step.source)}, which {why}"
    return ""


def _why(place: Place) -> str:
    if not stat.S_ISREG(place.mode):
        return "is not a regular file"
    if not place.mode & 0o111:
        return "may not be executed"
    return "lies on a mount with noexec" if place.flags & os.ST_NOEXEC else ""


def denied(step: Reading[Place], program: Reading[Place]) -> str:
    """The access to *step* that a Pod's mapped root lacks, as a verb and the path, on the way to *program*."""
    if step is program:
        return "execute it"
    folder = step.value is not None and stat.S_ISDIR(step.value.mode)
    return f"{'search' if folder else 'execute'} {inline(step.source)}"


def is_unclear(place: Place) -> bool:
    """True when a mapped root may have other rights than the mode gives to others, by an ACL or as owner or group."""
    return place.acl or place.uid >= FIRST_POD_ID or place.gid >= FIRST_POD_ID


def mode_of(place: Place, source: str) -> Evidence:
    """Evidence of a place: its mode in octal, its owner, and whether it has an ACL."""
    return Evidence(source, f"mode {place.mode & 0o7777:04o}, owner {place.uid}:{place.gid}{', ACL' * place.acl}")


def why_no_socket(socket: Reading[Place]) -> str:
    """The reason that no program answers at a path; empty for a socket, and for a path that could not be read."""
    if socket.kind == "absent":
        return "does not exist"
    return "is no socket" if socket.value and not stat.S_ISSOCK(socket.value.mode) else ""


def first_problem(readings: Iterable[Reading[Place]]) -> Reading[Place] | None:
    """The first of *readings* without a value; None when all have one."""
    return next((one for one in readings if one.value is None), None)


def why_nothing_is_made(place: Place) -> str:
    """The reason that not even root can make anything in *place*, however much room there is; empty when it can."""
    if stat.S_ISLNK(place.mode):
        return "is a dangling symlink"
    if kernels := _OF_THE_KERNEL.match(place.path):
        return f"is in {kernels[1]}, where nothing can be made"
    if not stat.S_ISDIR(place.mode):
        return "is not a directory"
    if place.read_only:
        return "is on a read-only mount"
    if place.sealed:
        return "is in a read-only subvolume or snapshot"
    return "is immutable (chattr +i)" if place.immutable else ""


def lacks_room(place: Place, least_bytes: int, least_inodes: int) -> str:
    """The resources that *place* has too little of; empty when it has both, or does not count them."""
    if place.inodes > 0 and place.free_inodes < least_inodes:
        return f"has only {place.free_inodes} free inodes" if place.free_inodes else "has no free inode"
    if place.size > 0 and place.free_bytes < least_bytes:
        return f"has only {place.free_bytes} bytes free" if place.free_bytes else "has no free space"
    return ""
