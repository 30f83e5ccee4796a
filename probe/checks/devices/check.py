"""The check of devices and hooks: the kind that fails and why, or that each works."""

from __future__ import annotations

from probe.checks.check import Outcome
from probe.checks.devices.offered import kinds_offered
from probe.checks.remedies.node import keep_devices
from probe.checks.remedies.platforms import inline
from probe.devices import DeviceKind
from probe.facts.model import Facts, HookFacts
from probe.finding import Evidence
from probe.reading import ProblemKind

_IN_THE_CONTAINER = ("createContainer", "startContainer")
_RUN_AS_THE_POD = (
    "Run one Pod with hostUsers: false. If it fails, let other users read and execute the hook's program, or narrow "
    "its “when”. This lists the hooks:\n"
    "  grep -l '\"always\"' /usr/share/containers/oci/hooks.d/*.json /etc/containers/oci/hooks.d/*.json"
)
_SHOWN = 3


def check_device_hooks(facts: Facts) -> Outcome:
    """Devices for Pods of the default handler."""
    return judge_device_hooks(facts, "")


def judge_device_hooks(facts: Facts, handler: str) -> Outcome:
    """Warn for kinds that fail; unknown for what was not read or not tried; else pass. Only some Pods have devices."""
    what = "whether Pods with a user namespace can use devices"
    for reading in (facts.hooks, facts.devices):
        if reading.value is None:
            return Outcome.not_read(what, reading)
    rows = kinds_offered(facts, handler)
    seen = [_evidence(row) for row in rows]
    hooks = facts.hooks.value
    failing = [row for row in rows if row.outcome in ("fails", "partly")]
    general = _general_hooks(hooks, facts) if hooks else None
    if failing:
        remediation = next((cause.remediation for row in failing for cause in row.causes if cause.remediation), "")
        message = "; ".join(_sentence(row) for row in failing[:_SHOWN])
        more = f"; {len(failing) - _SHOWN} more kinds fail" if len(failing) > _SHOWN else ""
        own = [_evidence(row) for row in failing]
        return Outcome.warn(f"{message}{more}", *own, *seen, remediation=remediation or keep_devices(facts))
    if general:
        return general
    return _doubt(facts, rows, what) or Outcome.passed(_well(rows), *(seen or [_none(facts)]))


def _sentence(row: DeviceKind) -> str:
    some = "some devices of " if row.outcome == "partly" else ""
    return f"with a user namespace no Pod can use {some}{inline(row.kind)}: {row.message}"


def _evidence(row: DeviceKind) -> Evidence:
    number = len(row.devices) + row.omitted
    counted = f"{number} devices, " if number else ""
    return Evidence(f"{row.kind} ({row.way})", f"{counted}{row.outcome}: {row.message}")


def _general_hooks(hooks: HookFacts, facts: Facts) -> Outcome | None:
    """Warning of OCI hooks of CRI-O, which run with containers that match."""
    if facts.runtime.value is not None and facts.runtime.value.name.value == "containerd":
        return None
    found = hooks.oci_hooks.value
    always = len({hook.path for hook in found.always if hook.when in _IN_THE_CONTAINER}) if found else 0
    if always:
        message = (
            f"{always} OCI hooks match every container and run in it with the Pod's own IDs: if one of them needs the "
            "node's root, no Pod with a user namespace starts"
        )
        seen = Evidence(hooks.oci_hooks.source, f"{always} hooks match each container")
        return Outcome.warn(message, seen, remediation=_RUN_AS_THE_POD)
    if found and found.hooked:
        message = (
            f"{found.hooked} of {found.found} OCI hooks run in a container with its Pod's own IDs, or are NVIDIA's "
            "prestart hook: a Pod with a user namespace and such a device may not start"
        )
        seen = Evidence(hooks.oci_hooks.source, f"{found.hooked} of {found.found} hooks")
        return Outcome.warn(message, seen, remediation=keep_devices(facts))
    return None


def _doubt(facts: Facts, rows: tuple[DeviceKind, ...], what: str) -> Outcome | None:
    """Unknown for the first of: kinds that were not tried, files that were not read."""
    unknown = [row for row in rows if row.outcome == "unknown"]
    devices, hooks = facts.devices.value, facts.hooks.value
    if unknown:
        causes = [cause for row in unknown for cause in row.causes]
        kind: ProblemKind = "not-readable" if any(cause.reason == "NotReadable" for cause in causes) else "not-tried"
        message = "; ".join(f"{inline(row.kind)}: {row.message}" for row in unknown[:_SHOWN])
        remediation = next((cause.remediation for cause in causes if cause.remediation), "")
        return Outcome.unknown(kind, message, *map(_evidence, unknown), remediation=remediation)
    if devices is None or hooks is None:
        return None
    if devices.cdi.value is None:
        return Outcome.not_read(what, devices.cdi)
    if devices.cdi.value.unread_count or devices.omitted:
        first = devices.cdi.value.unread[0] if devices.cdi.value.unread else devices.cdi
        message = f"unknown {what}: {devices.cdi.value.unread_count} CDI specifications could not be read"
        if not devices.cdi.value.unread_count:
            message = f"unknown {what}: {devices.omitted} files of CDI specifications were not read, there are too many"
        return Outcome.unknown("not-readable", message, first)
    if facts.runtime.value is not None and facts.runtime.value.name.value == "containerd":
        return None
    return _unread_hooks(hooks, what)


def _unread_hooks(hooks: HookFacts, what: str) -> Outcome | None:
    if hooks.oci_hooks.value is None:
        return Outcome.not_read(what, hooks.oci_hooks)
    if unread := hooks.oci_hooks.value.unread:
        message = f"unknown {what}: {unread} files could not be read"
        return Outcome.unknown("not-readable", message, Evidence(hooks.oci_hooks.source, problem="not read"))
    return None


def _well(rows: tuple[DeviceKind, ...]) -> str:
    if not rows:
        return "no CDI specification and no hook gives Pods a device"
    kinds = ", ".join(inline(row.kind) for row in rows[:10])
    return f"Pods with a user namespace can use all devices of this node: {kinds}"


def _none(facts: Facts) -> Evidence:
    cdi = facts.devices.value.cdi if facts.devices.value else None
    found = cdi.value.found if cdi and cdi.value else 0
    return Evidence(cdi.source if cdi else "CDI", f"{found} CDI specifications")
