"""Attempts at file systems on another kernel, by the table of file systems."""

from __future__ import annotations

from msgspec.structs import replace

from probe.facts.boot.model import BootFacts, Under
from probe.facts.model import Facts
from probe.facts.tried import Attempt
from probe.tables.filesystems import Verdict, judge_filesystem, judge_layers, parse_kernel_release


def release_then(boot: BootFacts) -> str:
    """Release of the kernel that boots next; empty when it is not known."""
    return boot.entry.value.release if boot.entry.value else ""


def attempts_after(facts: Facts, release: str) -> tuple[Attempt, ...]:
    """Attempts of today, as kernel *release* and the mounts of then would end them; empty: the running kernel."""
    now = facts.kernel.release.value or ""
    under = {
        each.role: each.then.value
        for each in (facts.mounts.value.at_boot if facts.mounts.value else ())
        if each.then.value
    }
    known = frozenset(one.fstype for one in facts.attempts if one.result == "supported")
    moved = [_moved(one, under.get(one.role), release or now, known) for one in facts.attempts]
    return tuple(_on_kernel(one, now, release) for one in moved) if release and release != now else tuple(moved)


def _moved(attempt: Attempt, under: Under | None, release: str, known: frozenset[str]) -> Attempt:
    """*attempt* on the file system that will be there; one of a type that the running kernel maps will be mapped."""
    if under is None or under.fstype == attempt.fstype:
        return attempt
    moved = replace(attempt, fstype=under.fstype)
    if under.fstype in known and attempt.role != "overlay-layers":
        return replace(moved, result="supported", reason="", kind="", errno="", usable="yes")
    return _judged(moved, _verdict(moved, release))


def _on_kernel(attempt: Attempt, now: str, then: str) -> Attempt:
    """*attempt* on kernel *then*; the table decides only where it explains what was seen on kernel *now*."""
    verdict, before = _verdict(attempt, then), _verdict(attempt, now)
    if attempt.result == "refused":
        return _judged(attempt, verdict) if before.taken == "no" and verdict.taken == "yes" else attempt
    if attempt.result == "unknown" or verdict.taken == "yes":
        return attempt
    if before.taken != "no" and verdict.taken == "no":
        return _judged(attempt, verdict)
    if (parse_kernel_release(then) or (0, 0)) >= (parse_kernel_release(now) or (0, 0)):
        return attempt
    return _judged(attempt, Verdict("unknown", f"{verdict.why}, and {now} proves nothing about an older one"))


def _verdict(attempt: Attempt, release: str) -> Verdict:
    if attempt.role == "overlay-layers":
        return judge_layers(attempt.fstype, release)
    return judge_filesystem(attempt.fstype or attempt.role, release)


def _judged(attempt: Attempt, verdict: Verdict) -> Attempt:
    if verdict.taken == "yes":
        return replace(attempt, result="supported", reason="", kind="", errno="", step="", usable="yes")
    if verdict.taken == "no":
        return replace(
            attempt, result="refused", reason=verdict.why, kind="", errno="EINVAL", step="mount_setattr", usable="no"
        )
    return replace(attempt, result="unknown", reason=verdict.why, kind="not-tried", errno="", step="", usable=None)
