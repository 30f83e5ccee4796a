"""The Report: everything that is said about a node, in one immutable, versioned document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from probe.checks.catalog import CHECKS, judge, judge_again
from probe.checks.check import Finding, Status, clipped
from probe.checks.ids import expect
from probe.facts.ids.forecast import Forecast
from probe.facts.model import Facts, Proof
from probe.facts.tried import Attempt, Role, Usable
from probe.reading import Reading
from probe.verdict import Verdict, conclude, decisive

SCHEMA: Literal["userns-probe.io/v1"] = "userns-probe.io/v1"

VOLUME_ROWS = 1000
"""Volumes that get a row of their own: a single Pod may have ten thousand file systems, and a report is bounded."""

STATUS_OF: dict[Verdict, Status] = {"ready": "pass", "not-ready": "fail", "unknown": "unknown"}
"""The status of a finding that alone makes a verdict."""


class Node(Struct, frozen=True, kw_only=True):
    """Which node, and which boot of it, the Report speaks of."""

    name: str | None
    boot_id: str
    """Empty when it could not be read; compare with `.status.nodeInfo.bootID`."""
    distribution: str
    hostname: str = ""
    """The kernel's host name, to show where `name` is null; empty when the probe cannot see it."""
    uptime_seconds: float | None = None
    """How long that boot had lasted when the probe began (CLOCK_BOOTTIME): its age, however wall clocks jump."""


class HandlerVerdict(Struct, frozen=True, kw_only=True):
    """Whether Pods run whose RuntimeClass names this handler; the empty name is the default handler."""

    name: str
    verdict: Verdict
    reason: str


class FilesystemRow(Struct, frozen=True, kw_only=True):
    """One attempt at an idmapped mount."""

    role: Role
    path: str | None
    """None for volumes, whose paths name Pods, unless they were asked for."""
    fstype: str
    device: str
    result: Literal["supported", "refused", "unknown"]
    reason: str
    step: str
    errno: str
    usable: Usable | None
    mounts_below: int
    below: tuple[str, ...] = ()
    """Some of the mount points below a path given to `path`; empty in a report."""


class VolumeRow(Struct, frozen=True, kw_only=True):
    """A CSI driver or plugin on one kind of file system, learned from the mounts of Pods on this node."""

    driver: str
    fstype: str
    result: Literal["supported", "refused", "unknown"]
    reason: str
    usable: Usable | None
    count: int
    """How many file systems of that kind are mounted."""


_Id = Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]
"""Python writes no number of more than 4300 digits, so a report must not make us add two such."""


class IdRange(Struct, frozen=True, kw_only=True):
    """The host IDs that the kubelet gives to Pods, one slot each."""

    first: _Id
    count: _Id
    ids_per_pod: _Id
    configured: bool
    """False for the kubelet's default: all IDs but the first slot."""
    slots: int
    used: int | None
    """None when it is not known."""


class RestartForecast(Struct, frozen=True, kw_only=True):
    """What the kubelet does when it starts again."""

    outcome: Literal["starts", "fails", "unknown"]
    reason: str
    """Why it fails, or why that is unknown; empty when it starts."""
    message: str
    """Of a failure: the line with which the kubelet will exit, as its log will have it."""


class OciRuntime(Struct, frozen=True, kw_only=True):
    """The OCI runtime behind one handler; empty fields could not be read."""

    handler: str
    name: str
    version: str
    idmap: bool | None
    user_namespaces: bool | None
    """What CRI says of the handler."""


class ReportFacts(Struct, frozen=True, kw_only=True):
    """The parsed values behind the findings: an allow-list, so nothing private slips out. Empty: not read."""

    kernel_release: str
    architecture: str
    kubelet_version: str
    kubelet_distribution: str
    runtime_name: str
    runtime_version: str
    snapshotter: str
    oci_runtimes: tuple[OciRuntime, ...]


class Report(Struct, frozen=True, kw_only=True):
    """The spine: outputs read only this."""

    schema: Literal["userns-probe.io/v1"] = SCHEMA
    agent_version: str
    node: Node
    probed_at: str
    """RFC 3339, UTC."""
    expires_at: str
    """RFC 3339, UTC: older than that the report says nothing any more."""
    confirmed_at: str | None
    """RFC 3339, UTC: when `watch` last saw that nothing had changed since the probe. None before the first look."""
    duration_seconds: float
    verdict: Verdict
    reason: str
    message: str
    levels: dict[str, Verdict]
    handlers: tuple[HandlerVerdict, ...]
    findings: tuple[Finding, ...]
    filesystems: tuple[FilesystemRow, ...]
    """One row per attempt; of more than VOLUME_ROWS volumes some of each kind."""
    volumes: tuple[VolumeRow, ...]
    """All of them, counted."""
    id_ranges: tuple[IdRange, ...]
    """Empty when they are not known, or the kubelet does not take them up."""
    forecast: RestartForecast | None
    """None on a node without a kubelet."""
    contradictions: tuple[str, ...]
    """Ids of findings in which a layer claims what the live attempt disproves, or the reverse."""
    proof: Proof
    """What the verdict rests upon; it is the same whichever Pods run now."""
    facts: ReportFacts


def make_report(
    facts: Facts,
    *,
    agent_version: str,
    probed_at: str,
    expires_at: str,
    duration_seconds: float,
    uptime_seconds: float | None = None,
    volume_paths: bool = False,
) -> Report:
    """Judge *facts* and put all that is said of them into one Report."""
    findings = judge(facts)
    conclusion = conclude(findings)
    expected = expect(facts)
    contradicting = {check.id for check in CHECKS if check.contradiction}
    return Report(
        agent_version=agent_version,
        node=Node(
            name=facts.node_name,
            boot_id=facts.kernel.boot_id.value or "",
            distribution=facts.distribution.value or "",
            hostname=facts.kernel.hostname,
            uptime_seconds=uptime_seconds,
        ),
        probed_at=probed_at,
        expires_at=expires_at,
        confirmed_at=None,
        duration_seconds=duration_seconds,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        message=conclusion.message,
        levels=conclusion.levels,
        handlers=_handler_verdicts(facts, findings),
        findings=findings,
        filesystems=tuple(filesystem_row(attempt, volume_paths) for attempt in _with_rows(facts.attempts)),
        volumes=_volume_rows(facts.attempts),
        id_ranges=_id_ranges(expected),
        forecast=RestartForecast(
            outcome=expected.outcome, reason=clipped(expected.reason), message=clipped(expected.message)
        )
        if expected
        else None,
        contradictions=tuple(f.id for f in findings if f.id in contradicting and f.status in ("warn", "fail")),
        proof=facts.proof,
        facts=_report_facts(facts),
    )


def decisive_finding(report: Report) -> Finding | None:
    """The finding whose reason the verdict carries; none when ready, or when no finding explains the verdict."""
    found = decisive(report.findings)
    explains = found is not None and (found.status, found.reason) == (STATUS_OF[report.verdict], report.reason)
    return found if explains else None


def filesystem_row(attempt: Attempt, volume_paths: bool = True) -> FilesystemRow:
    """The public part of an attempt."""
    return FilesystemRow(
        role=attempt.role,
        path=attempt.path if volume_paths or attempt.role != "volume" else None,
        fstype=attempt.fstype,
        device=attempt.device,
        result=attempt.result,
        reason=attempt.reason,
        step=attempt.step,
        errno=attempt.errno,
        usable=attempt.usable,
        mounts_below=attempt.mounts_below,
        below=attempt.below,
    )


def _with_rows(attempts: tuple[Attempt, ...]) -> list[Attempt]:
    """All but the volumes that are too many; the first of each kind go before the second of any."""
    nth: Counter[tuple[str, ...]] = Counter()
    turns: dict[int, int] = {}
    for index, one in enumerate(attempts):
        if one.role == "volume":
            kind = (one.plugin, one.fstype, one.result, one.usable or "")
            nth[kind] += 1
            turns[index] = nth[kind]
    chosen = set(sorted(turns, key=turns.__getitem__)[:VOLUME_ROWS])
    return [one for index, one in enumerate(attempts) if one.role != "volume" or index in chosen]


def _handler_verdicts(facts: Facts, findings: Sequence[Finding]) -> tuple[HandlerVerdict, ...]:
    """One verdict per handler that CRI names: *findings*, but for those checks in which the handler counts."""
    runtime = facts.runtime.value
    rows = []
    for handler in (runtime.handlers.value or ()) if runtime else ():
        conclusion = conclude(judge_again(facts, handler.name, findings))
        rows.append(HandlerVerdict(name=handler.name, verdict=conclusion.verdict, reason=conclusion.reason))
    return tuple(rows)


def _volume_rows(attempts: tuple[Attempt, ...]) -> tuple[VolumeRow, ...]:
    """One row per driver, file system and answer."""
    rows = [
        VolumeRow(driver=a.plugin, fstype=a.fstype, result=a.result, reason=a.reason, usable=a.usable, count=1)
        for a in attempts
        if a.role == "volume"
    ]
    counted = (msgspec.structs.replace(row, count=count) for row, count in Counter(rows).items())
    return tuple(sorted(counted, key=lambda row: (row.driver, row.fstype, row.result, row.usable or "", row.reason)))


def _id_ranges(expected: Forecast | None) -> tuple[IdRange, ...]:
    pool = expected.pool if expected else None
    if expected is None or pool is None:
        return ()
    return (
        IdRange(
            first=pool.first,
            count=pool.count,
            ids_per_pod=pool.ids_per_pod,
            configured=pool.configured,
            slots=pool.slots,
            used=expected.used,
        ),
    )


def _report_facts(facts: Facts) -> ReportFacts:
    kubelet, runtime = facts.kubelet.value, facts.runtime.value
    return ReportFacts(
        kernel_release=facts.kernel.release.value or "",
        architecture=facts.kernel.architecture,
        kubelet_version=_value(kubelet.version if kubelet else None),
        kubelet_distribution=kubelet.distribution if kubelet else "",
        runtime_name=_value(runtime.name if runtime else None),
        runtime_version=_value(runtime.version if runtime else None),
        snapshotter=_value(runtime.snapshotter if runtime else None),
        oci_runtimes=tuple(
            OciRuntime(
                handler=handler.name,
                name=handler.oci_runtime.value or "",
                version=handler.oci_version.value or "",
                idmap=handler.oci_idmap.value,
                user_namespaces=handler.user_namespaces,
            )
            for handler in (runtime.handlers.value or () if runtime else ())
        ),
    )


def _value(reading: Reading[str] | None) -> str:
    return (reading.value if reading else None) or ""
