"""Rows of the kinds of devices for all runtime handlers, within limits that never hide a failure."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from probe.checks.devices.fault import circumstances_of
from probe.checks.devices.kinds import device_kinds, legacy_hook
from probe.devices import OF_PLUGINS, DeviceKind
from probe.facts.model import Facts

_ROWS = 200
_HANDLERS = 50
_DISTINCT = 10  # handlers whose devices are judged one by one; others share their answers


def rows_of_handlers(facts: Facts) -> tuple[DeviceKind, ...]:
    """Rows of all handlers, those of the default one first; of equal rows one, which names the other handlers.

    A handler beyond the limits has no row, and a kind beyond them has none of any handler.
    """
    found: dict[tuple[Any, ...], DeviceKind] = {}
    for handler, *also in _alike(facts)[:_DISTINCT]:
        for row in device_kinds(facts, handler):
            key = row.kind, row.way, row.outcome, row.message, row.causes, tuple(row.devices.items())
            first = found.get(key)
            names = (*first.also, handler, *also) if first else tuple(also)
            found[key] = replace(first or row, also=names)
    return _whole_kinds(tuple(found.values()))


def _alike(facts: Facts) -> list[list[str]]:
    """Names of handlers, the default one first, together where the judges see no difference."""
    devices, runtime = facts.devices.value, facts.runtime.value
    if devices is None:
        return []
    handlers = (runtime.handlers.value if runtime else None) or ()
    found: dict[tuple[Any, ...], list[str]] = {}
    for name in ("", *[one.name for one in handlers if one.name][:_HANDLERS]):
        seen = circumstances_of(facts, devices, name)
        hook = legacy_hook(facts, name)
        alike = seen.oci_runtime, seen.oci_version, seen.nvidia_runtime, seen.nvidia_mode, seen.problem, hook
        found.setdefault(alike, []).append(name)
    return list(found.values())


def _whole_kinds(rows: tuple[DeviceKind, ...]) -> tuple[DeviceKind, ...]:
    """Rows of the first kinds, of each kind all: one that fails would be missed where another of the kind works."""
    by_kind: dict[str, list[DeviceKind]] = {}
    for row in rows:
        by_kind.setdefault(row.kind.removeprefix(OF_PLUGINS), []).append(row)
    kept: list[DeviceKind] = []
    for of_kind in by_kind.values():
        if len(kept) + len(of_kind) <= _ROWS:
            kept += of_kind
    return tuple(kept)
