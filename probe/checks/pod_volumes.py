"""Can each file system that Pods have mounted be idmapped?"""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.node import MOUNT_APART
from probe.facts.model import Facts
from probe.facts.tried import Attempt
from probe.finding import Evidence
from probe.tables.filesystems import READS_ONLY, what_works


def check_volumes(facts: Facts) -> Outcome:
    """Judge each file system mounted for Pods on this node."""
    if facts.mounts.value is None:
        return Outcome.not_read("which volumes are mounted", facts.mounts)
    volumes = [attempt for attempt in facts.attempts if attempt.role == "volume"]
    if not volumes:
        seen = Evidence(facts.mounts.source, f"{facts.mounts.value.count} mounts, none of which is a volume")
        return Outcome.skipped("no volume with its own file system is mounted for Pods here", seen)
    refused = [attempt for attempt in volumes if attempt.result == "refused"]
    unknown = [attempt for attempt in volumes if attempt.result == "unknown"]
    evidence = [evidence_of(attempt) for attempt in (*refused, *unknown)][:20]
    if refused:
        kinds = ", ".join(sorted({attempt.fstype for attempt in refused}))
        message = f"{len(refused)} of {len(volumes)} file systems of volumes cannot be idmapped: {kinds}"
        return Outcome.fail("VolumesNotIdmappable", message, *evidence, remediation=_ways(facts, refused))
    if unknown:
        message = f"{len(unknown)} of {len(volumes)} file systems of volumes could not be judged: {unknown[0].reason}"
        return Outcome.unknown(unknown[0].kind or "not-tried", message, *evidence)
    partly = [evidence_of(attempt) for attempt in volumes if attempt.usable == "partly"]
    if partly:
        message = f"mounts below {len(partly)} of {len(volumes)} volumes appear with owner 65534 (nobody) in Pods"
        return Outcome.warn(message, *partly[:20], remediation=MOUNT_APART)
    unproven = sorted({one.fstype for one in volumes} & READS_ONLY.keys())
    told = "".join(f"; {kind}: {READS_ONLY[kind]}" for kind in unproven)
    message = f"all {len(volumes)} file systems of volumes can be idmapped{told}"
    return Outcome.passed(message, *map(evidence_of, volumes[:20]))


def _ways(facts: Facts, refused: list[Attempt]) -> str:
    """Alternatives to the file systems that are refused, and what helps with any of them."""
    release = facts.kernel.release.value or ""
    kinds = sorted({attempt.fstype for attempt in refused})
    ways = [f"{kind}: {way}.\n" for kind in kinds if (way := what_works(kind, release))]
    return "".join(ways) + GENERIC["filesystem-volumes"]


def evidence_of(attempt: Attempt) -> Evidence:
    """The call and its answer; for volumes with the device, since their paths contain names of Pods."""
    place = f"{attempt.fstype} {attempt.device}" if attempt.role == "volume" else attempt.path or attempt.fstype
    answer = f"{attempt.errno} from {attempt.step}" if attempt.errno else attempt.reason or "accepted"
    if attempt.owner:
        answer += f", UID {attempt.owner[0]} is seen as {attempt.owner[1]}"
    return Evidence(f"idmapped mount of {place}", answer)
