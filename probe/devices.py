"""Types of what is said of devices that Pods can request; none of it decides the node's verdict. Pure."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

DeviceOutcome = Literal["works", "fails", "unknown"]
"""Result for a container with a user namespace that gets the device, where one without gets it, too."""
KindOutcome = Literal["works", "partly", "fails", "unknown"]
"""The same of all devices of a kind; `partly`: some of them fail."""
DeviceWay = Literal["cdi", "device-plugin", "legacy"]
"""Source of a device: a CDI specification, the nodes of a known device plugin, or NVIDIA's prestart hook."""

DeviceReason = Literal[
    "DeviceMode", "DeviceNotReachable", "OtherDevice", "DeviceMissing", "MountNotIdmappable", "MountNotReadable",
    "MountRefused", "MountMissing", "MountNotTried", "CrunMountType", "HookNotExecutable", "HookMissing",
    "HookNotTried", "NvidiaHook", "NvidiaLegacyHook", "NvidiaRuntime", "InterfaceNotTried", "CdiConflict",
    "CdiDisabled", "CdiVersionUnknown", "RuntimeUnknown", "NotReadable", "GroupNotMapped", "PluginNotKnown",
]  # fmt: skip
"""Reason of a cause; docs/troubleshooting.md has what each means."""

OF_PLUGINS = "k8s.device-plugin."
"""Beginning of the CDI kinds that NVIDIA's device plugin writes for itself: `k8s.device-plugin.nvidia.com/gpu`."""
NAMES = 256
"""Devices of a kind that are named in a report."""


class DeviceCause(Struct, frozen=True, kw_only=True):
    """One reason why devices of a kind fail, or why that is unknown."""

    outcome: Literal["fails", "unknown"]
    reason: DeviceReason
    message: str
    remediation: str
    devices: int
    """Number of devices that it concerns."""
    example: str
    """Name of one of them; empty where the kind has no names."""


class DeviceKind(Struct, frozen=True, kw_only=True):
    """One kind of device for one runtime handler."""

    kind: str
    """CDI kind, or the name of the resource: `nvidia.com/gpu`."""
    handler: str
    """Name of the handler as CRI has it; empty for the default one."""
    also: tuple[str, ...] = ()
    """Other handlers with the same answer. A handler that no row names was not judged, or its Pods get no device."""
    way: DeviceWay
    outcome: KindOutcome
    message: str
    """Half a sentence."""
    tried: bool
    """True when an attempt at a mount is part of the answer."""
    devices: dict[str, DeviceOutcome]
    """Name -> result, of at most NAMES devices."""
    omitted: int
    """Number of devices beyond that."""
    causes: tuple[DeviceCause, ...]


def is_of(kind: DeviceKind, handler: str) -> bool:
    """True when *kind* holds for Pods of that *handler*."""
    return handler == kind.handler or handler in kind.also


def merged(outcomes: set[DeviceOutcome]) -> KindOutcome:
    """Result for a kind whose devices have *outcomes*."""
    if len(outcomes) == 1:
        return next(iter(outcomes))
    return "partly" if "fails" in outcomes else "unknown"
