"""Rows of all kinds of devices for a runtime handler: CDI, known device plugins, NVIDIA's legacy runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from probe.checks.devices.fault import Circumstances, Fault, circumstances_of
from probe.checks.devices.hooks import is_legacy, judge_hook
from probe.checks.devices.mounts import judge_mount
from probe.checks.devices.nodes import judge_node, makes_nodes
from probe.checks.remedies.devices import NVIDIA_LEGACY
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import handler_around
from probe.devices import NAMES, OF_PLUGINS, DeviceCause, DeviceKind, DeviceOutcome, DeviceWay, merged
from probe.facts.around import Hook
from probe.facts.devices.model import CdiEdits, CdiNode, DeviceFacts
from probe.facts.model import Facts
from probe.facts.runtime.oci import parse_version_number
from probe.reading import Reading

_FAULTS = 20  # distinct ones of one part of a specification
_CAUSES = 6
_NVIDIA_KIND = "nvidia.com/gpu"
_JIT_CDI = (1, 18, 0)
"""First release of the toolkit in which the mode `auto` means CDI. *Source*: its release notes."""
_FROM_OUTSIDE = "mounts into the container from outside: NVIDIA never supported that with user namespaces"
_CONFLICT = Fault("fails", "CdiConflict", "two CDI specifications of one directory name the device, so neither counts")


_UNSEEN = Fault("unknown", "PluginNotKnown", "its device plugin tells only the kubelet what a container gets")


def device_kinds(facts: Facts, handler: str) -> tuple[DeviceKind, ...]:
    """A row for each kind of device, for Pods of that *handler*."""
    devices = facts.devices.value
    if devices is None:
        return ()
    seen = circumstances_of(facts, devices, handler)
    general = list(_general(facts, devices, seen))
    judge = _Judge(seen)
    rows = [
        _row(kind, "cdi", seen, {name: judge(edits) + general for name, edits in named.items()}, tried)
        for kind, (named, tried) in _cdi_kinds(devices).items()
    ]
    for plugin in devices.plugins:
        if any((way := seen.way(path)) and way[0].kind != "absent" for path in plugin.nodes):
            edits = CdiEdits(nodes=tuple(CdiNode(path, path, False, "rw") for path in plugin.nodes))
            faults = judge((edits,)) + ([_of_runtime(seen)] if seen.problem else [])
            rows.append(_row(plugin.resource, "device-plugin", seen, {"": faults}, False))
    rows += _legacy(facts, seen)
    vendors = {row.kind.removeprefix(OF_PLUGINS).partition("/")[0] for row in rows if row.way != "device-plugin"}
    others = [one for one in devices.resources if one.partition("/")[0] not in vendors]
    return (*rows, *(_row(one, "device-plugin", seen, {"": [_UNSEEN]}, False) for one in others))


def _cdi_kinds(devices: DeviceFacts) -> dict[str, tuple[dict[str, tuple[CdiEdits, ...] | None], bool]]:
    """Kind -> its devices by name with their edits, None for two of one name; whether a mount of it was tried."""
    found: dict[str, dict[str, tuple[CdiEdits, ...] | None]] = {}
    for folder in devices.cdi.value.folders if devices.cdi.value else ():
        counts = Counter((one.kind, name) for one in folder for name in one.devices)
        for one in folder:
            named = found.setdefault(one.kind, {})
            for name, edits in one.devices.items():
                conflict = counts[one.kind, name] > 1 or named.get(name, ()) is None
                named[name] = None if conflict else (one.edits, edits)
    tried = {one.source for one in devices.mounts}
    return {
        kind: (
            named,
            any(mount.source in tried for edits in named.values() for one in edits or () for mount in one.mounts),
        )
        for kind, named in found.items()
    }


def _general(facts: Facts, devices: DeviceFacts, seen: Circumstances) -> Iterator[Fault]:
    """Faults of each CDI device."""
    cdi, settings = devices.cdi.value, facts.runtime.value.cdi.value if facts.runtime.value else None
    if settings is not None and not settings.enabled:
        yield Fault("unknown", "CdiDisabled", "enable_cdi is off, so containerd ignores CDI specifications")
    if seen.problem:
        yield _of_runtime(seen)
    if seen.nvidia_runtime:
        message = "the handler runs NVIDIA's runtime, which changes the container before runc or crun gets it"
        yield Fault("unknown", "NvidiaRuntime", message)
    if cdi and cdi.unread_count:
        message = f"{cdi.unread_count} of {cdi.found} CDI specifications were not read, and one may replace a device"
        yield Fault("unknown", "NotReadable", message)


def _of_runtime(seen: Circumstances) -> Fault:
    return Fault("unknown", "RuntimeUnknown", f"unknown what becomes of the device: {seen.problem}")


class _Judge:
    """Judge of the edits of a device; those that many devices share are judged once."""

    def __init__(self, seen: Circumstances) -> None:
        self._seen = seen
        self._known: dict[int, tuple[CdiEdits, list[Fault]]] = {}
        """By the identity of the edits, which are kept, so that no others get the same."""

    def __call__(self, edits: Sequence[CdiEdits] | None) -> list[Fault]:
        """Some faults of one device, failures first; None: two specifications have one of that name."""
        if edits is None:
            return [_CONFLICT]
        for one in edits:
            if id(one) not in self._known:
                faults = dict.fromkeys(self._faults(one))
                self._known[id(one)] = one, sorted(faults, key=lambda fault: fault.outcome != "fails")[:_FAULTS]
        return [fault for one in edits for fault in self._known[id(one)][1]]

    def _faults(self, edits: CdiEdits) -> Iterator[Fault]:
        for node in edits.nodes:
            yield from judge_node(node, self._seen)
        for mount in edits.mounts:
            yield from judge_mount(mount, self._seen)
        for hook in edits.hooks:
            yield from judge_hook(hook, self._seen)
        if edits.gids and edits.gids[-1] >= self._seen.ids_per_pod:
            message = f"its group {edits.gids[-1]} is outside the {self._seen.ids_per_pod} IDs of a Pod (EINVAL)"
            yield Fault("fails", "GroupNotMapped", message)
        if edits.interfaces:
            yield Fault("unknown", "InterfaceNotTried", "a network interface of the node moves into the Pod")


def _row(kind: str, way: DeviceWay, seen: Circumstances, faults: Mapping[str, list[Fault]], tried: bool) -> DeviceKind:
    outcomes = {name: _outcome(found) for name, found in faults.items()}
    outcome = merged(set(outcomes.values())) if outcomes else "unknown"
    causes = _causes(faults)
    named = {name: one for name, one in list(outcomes.items())[:NAMES] if name}
    return DeviceKind(
        kind=kind,
        handler=seen.handler,
        way=way,
        outcome=outcome,
        message=_message(outcome, causes, seen),
        tried=tried,
        devices=named,
        omitted=len([name for name in outcomes if name]) - len(named),
        causes=causes,
    )


def _outcome(faults: Iterable[Fault]) -> DeviceOutcome:
    found = {fault.outcome for fault in faults}
    return "fails" if "fails" in found else "unknown" if found else "works"


def _causes(faults: Mapping[str, list[Fault]]) -> tuple[DeviceCause, ...]:
    """Distinct faults, failures first, each with the number of its devices."""
    by_fault: dict[Fault, list[str]] = {}
    for name, found in faults.items():
        for fault in dict.fromkeys(found):
            by_fault.setdefault(fault, []).append(name)
    ordered = sorted(by_fault.items(), key=lambda item: item[0].outcome != "fails")
    return tuple(
        DeviceCause(
            outcome=fault.outcome,
            reason=fault.reason,
            message=fault.message,
            remediation=fault.remediation,
            devices=len(names),
            example=names[0],
        )
        for fault, names in ordered[:_CAUSES]
    )


def _message(outcome: str, causes: tuple[DeviceCause, ...], seen: Circumstances) -> str:
    if causes:
        return causes[0].message
    if outcome != "works":
        return "its specifications name no device"
    whose = "its root can use the device nodes, which crun creates" if makes_nodes(seen) else "it can use device nodes"
    return f"a Pod gets all mounts, and {whose}"


def _legacy(facts: Facts, seen: Circumstances) -> Iterator[DeviceKind]:
    """NVIDIA's prestart hook of each container, or its runtime, which leaves the work to that hook in some modes."""
    fault = _legacy_fault(facts, seen)
    if fault:
        yield _row(_NVIDIA_KIND, "legacy", seen, {"": [fault]}, False)


def _legacy_fault(facts: Facts, seen: Circumstances) -> Fault | None:
    hooked = legacy_hook(facts, seen.handler)
    if hooked:
        message = f"{inline(hooked)} {_FROM_OUTSIDE}"
        return Fault("fails", "NvidiaLegacyHook", message, NVIDIA_LEGACY)
    if not seen.nvidia_runtime:
        return None
    mode, number = seen.devices.toolkit.mode, parse_version_number(seen.toolkit_version)
    if seen.nvidia_mode:
        mode = Reading("name of the OCI runtime", seen.nvidia_mode)
    if mode.value == "legacy" or (mode.value == "auto" and number is not None and number < _JIT_CDI):
        message = f"NVIDIA's runtime leaves devices to its prestart hook, which {_FROM_OUTSIDE}"
        return Fault("fails", "NvidiaLegacyHook", message, NVIDIA_LEGACY)
    told = f"its mode is {mode.value}" if mode.value else f"its mode is unknown: {mode.problem}"
    message = f"NVIDIA's runtime makes a CDI specification for each container, which the probe cannot see; {told}"
    return Fault("unknown", "NvidiaRuntime", message)


def legacy_hook(facts: Facts, handler: str) -> str:
    """Path of NVIDIA's prestart hook, where each container of *handler* runs it."""
    return next((hook.path for hook in _hooks_of_all(facts, handler) if is_legacy(hook.path)), "")


def _hooks_of_all(facts: Facts, handler: str) -> Iterator[Hook]:
    """Hooks of each container: of the base specification, and those of CRI-O that always match."""
    around, hooks = handler_around(facts, handler), facts.hooks.value
    if around and around.added.value:
        yield from around.added.value.hooks
    if hooks and hooks.oci_hooks.value:
        yield from hooks.oci_hooks.value.always
