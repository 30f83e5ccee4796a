"""From facts to the Report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from probe.checks.catalog import CHECKS, judge, judge_again
from probe.checks.devices.offered import kinds_of_handlers
from probe.checks.forecasts.catalog import forecast_events
from probe.checks.ids import expect
from probe.checks.nested.catalog import judge_nested
from probe.facts.ids.forecast import Forecast
from probe.facts.model import Facts, Handler, RuntimeFacts
from probe.facts.tried import Attempt
from probe.finding import Finding, clipped
from probe.nested import Base
from probe.reading import Reading
from probe.report import (
    VOLUME_ROWS,
    FilesystemRow,
    HandlerVerdict,
    IdRange,
    Node,
    OciRuntime,
    Report,
    ReportFacts,
    RestartForecast,
    VolumeRow,
)
from probe.tables.host_network import supports
from probe.verdict import conclude, decisive


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
    by_handler = _by_handler(facts, findings)
    bases = {name: _base(found) for name, found in by_handler.items()}
    release = facts.kernel.release.value or ""
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
        since=None,
        previous=None,
        changes=(),
        changes_problem="",
        levels=conclusion.levels,
        handlers=tuple(_handler_verdict(name, found) for name, found in by_handler.items()),
        findings=findings,
        filesystems=tuple(filesystem_row(one, volume_paths, release) for one in _with_rows(facts.attempts)),
        volumes=_volume_rows(facts.attempts, release),
        id_ranges=_id_ranges(expected),
        forecast=RestartForecast(
            outcome=expected.outcome, reason=clipped(expected.reason), message=clipped(expected.message)
        )
        if expected
        else None,
        forecasts=forecast_events(facts, findings),
        contradictions=tuple(f.id for f in findings if f.id in contradicting and f.status in ("warn", "fail")),
        proof=facts.proof,
        facts=_report_facts(facts),
        nested=judge_nested(facts, {"": _base(findings)} | bases),
        devices=kinds_of_handlers(facts),
    )


def filesystem_row(attempt: Attempt, volume_paths: bool = True, release: str = "") -> FilesystemRow:
    """The public part of an attempt, on a kernel of *release*."""
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
        mount_read_only=attempt.mount_read_only,
        driver=attempt.plugin or UNSET,
        expected=_expected(attempt, release) or UNSET,
    )


def _expected(attempt: Attempt, release: str) -> str:
    """The answer by kernel and driver for a volume that could not be tried; empty for all else, and without one."""
    if attempt.role != "volume" or attempt.result != "unknown" or not attempt.fstype:
        return ""
    from probe.tables.driver import NOT_TRIED  # few reports need these tables
    from probe.tables.drivers import driver_of_plugin
    from probe.tables.filesystems import judge_filesystem
    from probe.tables.servers import offers

    driver = driver_of_plugin(attempt.plugin)
    found = judge_filesystem(attempt.fstype, release, offers(driver.server) if driver else None)
    words = {"yes": "supported", "no": "refused", "unknown": "unknown"}
    return f"{NOT_TRIED}: {words[found.taken]}: {found.why}"


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


def _by_handler(facts: Facts, findings: Sequence[Finding]) -> dict[str, Sequence[Finding]]:
    """*findings* for each handler that CRI names, with those in which the handler counts judged anew."""
    runtime = facts.runtime.value
    handlers = (runtime.handlers.value or ()) if runtime else ()
    return {handler.name: judge_again(facts, handler.name, findings) for handler in handlers}


def _handler_verdict(name: str, findings: Sequence[Finding]) -> HandlerVerdict:
    conclusion = conclude(findings)
    return HandlerVerdict(name=name, verdict=conclusion.verdict, reason=conclusion.reason, levels=conclusion.levels)


def _base(findings: Sequence[Finding]) -> Base:
    conclusion, found = conclude(findings), decisive(findings)
    return Base(
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        message=conclusion.message,
        remediation=found.remediation if found else "",
    )


def _volume_rows(attempts: tuple[Attempt, ...], release: str) -> tuple[VolumeRow, ...]:
    """One row per driver, file system and answer."""
    rows = [
        VolumeRow(
            driver=a.plugin,
            fstype=a.fstype,
            result=a.result,
            reason=a.reason,
            usable=a.usable,
            count=1,
            expected=_expected(a, release),
        )
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
                **_host_network(runtime, handler),
            )
            for handler in (runtime.handlers.value or () if runtime else ())
        ),
    )


def _host_network(runtime: RuntimeFacts | None, handler: Handler) -> dict[str, bool | None]:
    """CRI's claim and what the release supports, neither of which a handler without user namespaces has."""
    if runtime is None or handler.user_namespaces is False:
        return {"host_network_claimed": False, "host_network_supported": False}
    return {
        "host_network_claimed": runtime.host_network.value,
        "host_network_supported": supports(_value(runtime.name), _value(runtime.version)),
    }


def _value(reading: Reading[str] | None) -> str:
    return (reading.value if reading else None) or ""
