"""Changes by another kubelet or container runtime."""

from __future__ import annotations

from collections.abc import Iterator

from probe.checks.faults import CRIO_RESTART, IMAGE_DECLARED_VOLUMES, IMAGE_VOLUMES, LEAKS, Fault
from probe.checks.remedies.runtime import MINIMUM_RUNTIME
from probe.checks.upgrades.model import Component, Effect, Step, Target, reached
from probe.facts.kubelet.versions import FAIL_CGROUP_V1_SINCE, GATE, VERSION_RULES, parse_release, version_rule
from probe.facts.runtime.cdi import maps_mounts
from probe.facts.runtime.oci import parse_version_number
from probe.finding import Finding
from probe.report import Report
from probe.tables.version import spelled

_ON = next(rule for rule in VERSION_RULES if rule.default)
_LOCKED = next(rule for rule in VERSION_RULES if rule.locked)
_FEATURES_OF_ALL = (2, 4)
_FAULTS: dict[str, Fault] = {
    "hazard-crio-restart": CRIO_RESTART,
    "hazard-leaked-mounts": LEAKS,
    "hazard-declared-volumes": IMAGE_DECLARED_VOLUMES,
    "hazard-image-volumes": IMAGE_VOLUMES,
}
"""Finding -> the fault of versions that it is about."""


def kubernetes_steps(report: Report, target: str) -> Iterator[Step]:
    """Steps of the kubelet, by the findings of today."""
    findings = {one.id: one for one in report.findings}
    try:
        now, then = parse_release(report.facts.kubelet_version), parse_release(target) if target else None
    except ValueError:
        return
    gate, own = findings.get("kubelet-gate-restart"), findings.get("kubelet-user-namespaces")
    configured = gate is not None and gate.status in ("skipped", "warn")  # skipped: the gate may still be off
    if own is not None and own.status == "fail" and not configured and reached(now, _ON.since, then):
        yield _kubernetes(_ON.since, "starts", own.id, f"the gate {GATE} is on by default", _ON.source)
    if configured and reached(now, _LOCKED.since, then):
        why = f"the gate {GATE} is locked: a kubelet configured to switch it off exits at its start"
        yield _kubernetes(_LOCKED.since, "stops", "kubelet-gate-restart", why, _LOCKED.source)
    cgroup = findings.get("kubelet-cgroup-v1")
    if cgroup is not None and cgroup.status in ("pass", "warn") and reached(now, FAIL_CGROUP_V1_SINCE, then):
        why = "on cgroup v1 the kubelet starts only with failCgroupV1: false"
        yield _kubernetes(FAIL_CGROUP_V1_SINCE, "unknown", cgroup.id, why, "KEP-4569; KubeletConfiguration v1beta1")
    if then is not None and then < now and own is not None and own.status == "pass" and not version_rule(then).default:
        yield _kubernetes(_ON.since, "stops", own.id, _without(then), version_rule(then).source)


def _without(release: tuple[int, int]) -> str:
    """Sentence about a kubelet of *release*, in which the gate is not on by default."""
    rule = version_rule(release)
    words = f"has the gate {rule.gate} off unless configured" if rule.gate else "does not know hostUsers"
    ignored = ", and runs such Pods with the node's users" if rule.unable == "ignores" else ""
    return f"kubelet {spelled(release)} {words}{ignored}"


def _kubernetes(since: tuple[int, int], effect: Effect, subject: str, why: str, source: str) -> Step:
    return Step(component="kubernetes", version=spelled(since), effect=effect, subject=subject, why=why, source=source)


def runtime_steps(report: Report, target: Target) -> Iterator[Step]:
    """Steps of the container runtime that the node has; versions of the other one change nothing."""
    name, now = report.facts.runtime_name, parse_version_number(report.facts.runtime_version)
    if name not in MINIMUM_RUNTIME or now is None:
        return
    component: Component = "containerd" if name == "containerd" else "cri-o"
    wanted = target.containerd if component == "containerd" else target.crio
    if not wanted and (target.containerd or target.crio):
        return
    then = parse_version_number(wanted) if wanted else None
    findings = {one.id: one for one in report.findings}
    minimum = parse_version_number(MINIMUM_RUNTIME[name]) or now
    why = f"since {MINIMUM_RUNTIME[name]} {name} tells the kubelet which handlers have user namespaces"
    source = f"{name}, release notes; CRI, runtime_handlers"
    if reached(now, minimum, then):
        yield _runtime(component, minimum[:2], "starts", "runtime-user-namespaces", why, source)
    elif then is not None and then < minimum <= now:
        yield _runtime(component, minimum[:2], "stops", "runtime-user-namespaces", why, source)
    for check, fault in _FAULTS.items():
        if fault.program == name and check in findings:
            yield from _of_fault(component, findings[check], fault, now, then)
    if any(kind.way == "cdi" for kind in report.devices) and then is not None:
        yield from _of_devices(component, now, then)
    silent = [one.handler or "the default handler" for one in report.facts.oci_runtimes if one.user_namespaces is None]
    if component == "containerd" and silent and minimum <= now and reached(now, _FEATURES_OF_ALL, then):
        why = "containerd asks the OCI runtimes of all shims for their features, not only those of runc's shim"
        yield _runtime(component, _FEATURES_OF_ALL, "unknown", ", ".join(silent[:5]), why, source)


def _of_devices(component: Component, now: tuple[int, int, int], then: tuple[int, int, int]) -> Iterator[Step]:
    """Mounts of devices get a mapping, or lose it: each device has an answer of its own, which is not known here."""
    if maps_mounts(component, now) != maps_mounts(component, then):
        what = "idmaps the mounts of CDI devices; one that cannot be idmapped stops the Pod"
        if then < now:
            what = "binds the mounts of CDI devices without a mapping, so their files belong to nobody"
        why = f"{component} {spelled(then)} {what}"
        yield _runtime(component, then, "unknown", "hazard-device-hooks", why, "CDI 1.1.0, pkg/cdi/oci.go")


def _of_fault(
    component: Component, finding: Finding, fault: Fault, now: tuple[int, int, int], then: tuple[int, int, int] | None
) -> Iterator[Step]:
    source = f"{component}, release notes; userns-probe explain {finding.id}"
    affected = fault.affects(now) is True and finding.status == "warn"
    if affected and (then is None or (then > now and fault.affects(then) is False)):
        yield _runtime(component, _fixed(fault, now), "starts", finding.id, "the fault is fixed", source)
    elif not affected and then is not None and fault.affects(then) and finding.status == "pass":
        yield _runtime(component, then, "stops", finding.id, f"{component} {spelled(then)} has the fault", source)


def _fixed(fault: Fault, now: tuple[int, int, int]) -> tuple[int, ...]:
    """First release without the fault: of the branch of *now* where one is known, else the branch that never had it."""
    patch = fault.fixed.get(now[:2])
    return (*now[:2], patch) if patch is not None else fault.gone


def _runtime(component: Component, since: tuple[int, ...], effect: Effect, subject: str, why: str, source: str) -> Step:
    return Step(component=component, version=spelled(since), effect=effect, subject=subject, why=why, source=source)
