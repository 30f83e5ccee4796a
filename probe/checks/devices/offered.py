"""Rows of the kinds of devices, for which a node that offers none imports no judge."""

from __future__ import annotations

from probe.checks.runtime.around import surroundings_of
from probe.devices import DeviceKind
from probe.facts.devices.toolkit import has_nvidia_runtime
from probe.facts.model import Facts


def kinds_offered(facts: Facts, handler: str) -> tuple[DeviceKind, ...]:
    """A row for each kind of device, for Pods of that *handler*."""
    if not _offers_devices(facts):
        return ()
    from probe.checks.devices.kinds import device_kinds  # few nodes need it

    return device_kinds(facts, handler)


def kinds_of_handlers(facts: Facts) -> tuple[DeviceKind, ...]:
    """A row for each kind of device, for Pods of all handlers."""
    if not _offers_devices(facts):
        return ()
    from probe.checks.devices.handlers import rows_of_handlers  # few nodes need it

    return rows_of_handlers(facts)


def _offers_devices(facts: Facts) -> bool:
    """Whether any kind may have a row: of a specification, a device plugin, NVIDIA's runtime, a hook of all Pods."""
    devices, hooks, around = facts.devices.value, facts.hooks.value, surroundings_of(facts).value
    if devices is None:
        return False
    if any(devices.cdi.value.folders if devices.cdi.value else ()) or devices.plugins or devices.resources:
        return True
    if has_nvidia_runtime(facts.runtime) or (hooks and hooks.oci_hooks.value and hooks.oci_hooks.value.always):
        return True
    return any(one.added.value and one.added.value.hooks for one in (around.handlers if around else ()))
