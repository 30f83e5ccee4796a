"""What the checks of the daemon's surroundings share."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from probe.checks.check import Outcome
from probe.checks.remedies.around import OF_REASON
from probe.facts.around import Daemon, HandlerAround, Place, Surroundings
from probe.facts.model import Facts
from probe.facts.runtime.oci import parse_version_number
from probe.finding import Evidence
from probe.reading import Reading, problem_of

_MAPPED_FROM = 65536


def surroundings_of(facts: Facts) -> Reading[Surroundings]:
    """What surrounds the runtime's daemon."""
    return facts.runtime.value.surroundings if facts.runtime.value else problem_of(facts.runtime)


def daemon_of(facts: Facts) -> Reading[Daemon]:
    """Limits, capabilities and umask of the runtime's daemon."""
    return surroundings_of(facts).then(lambda around: around.daemon)


def handler_around(facts: Facts, handler: str) -> HandlerAround | None:
    """What that handler needs; None where the runtime does not tell."""
    around = surroundings_of(facts).value
    return next((one for one in around.handlers if one.name == handler), None) if around else None


def is_containerd(facts: Facts, since: tuple[int, int, int] = (0, 0, 0)) -> bool:
    """Whether the runtime is containerd, of that version or newer; one without a version is taken for new."""
    runtime = facts.runtime.value
    if runtime is None or runtime.name.value != "containerd":
        return False
    return (parse_version_number(runtime.version.value or "") or since) >= since


def worst(parts: dict[str, Outcome]) -> Outcome:
    """The outcome that counts most; *parts* are the parts of one check, by the reason whose remedy fits a warning."""
    for status in ("fail", "unknown", "warn"):
        for reason, outcome in parts.items():
            if outcome.status == status:
                remediation = outcome.remediation or OF_REASON.get(outcome.reason, "")
                remediation = remediation or ("" if status == "unknown" else OF_REASON[reason])
                return msgspec.structs.replace(outcome, remediation=remediation)
    well = [outcome for outcome in parts.values() if outcome.status == "pass"] or list(parts.values())
    message = "; ".join(outcome.message for outcome in well)
    evidence = tuple(dict.fromkeys(each for outcome in parts.values() for each in outcome.evidence))
    return msgspec.structs.replace(well[0], message=message, evidence=evidence)


def told_by(facts: Facts) -> Evidence:
    """Which runtime the kubelet talks to, the evidence of what does not concern it."""
    name = facts.runtime.value.name if facts.runtime.value else problem_of(facts.runtime)
    return Evidence(name.source, name.value or "", name.problem)


def oci_runtime_of(facts: Facts, handler: str) -> str:
    """`runc` or `crun`; empty when it is not known."""
    handlers = (facts.runtime.value.handlers.value if facts.runtime.value else None) or ()
    return next((one.oci_runtime.value or "" for one in handlers if one.name == handler), "")


def is_closed(place: Place) -> bool:
    """Whether the mode lets no mapped root through."""
    return not place.mode & 0o001


def is_unclear(place: Place) -> bool:
    """Whether somebody with a high ID may have more rights than the mode gives to others."""
    return place.acl or place.uid >= _MAPPED_FROM or place.gid >= _MAPPED_FROM


def mode_of(place: Place, source: str) -> Evidence:
    """A place as ls(1) names its mode."""
    return Evidence(source, f"mode {place.mode & 0o7777:04o}, owner {place.uid}:{place.gid}{', ACL' * place.acl}")


def first_problem(readings: Iterable[Reading[Place]]) -> Reading[Place] | None:
    """The first that could not be read."""
    return next((one for one in readings if one.value is None), None)
