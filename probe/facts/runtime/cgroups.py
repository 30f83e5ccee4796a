"""Handlers that give a container a cgroup of its own, from the verbose Status of CRI."""

from __future__ import annotations

from msgspec import Struct, field

from probe.facts.runtime.config import decode_json, parse_status
from probe.host.cri import CriAnswer
from probe.reading import Reading

ANNOTATIONS = frozenset(("cgroup2-mount-hierarchy-rw.crio.io", "io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw"))
"""CRI-O's annotation that asks for a writable cgroup, and its old name."""


class HandlerCgroup(Struct, frozen=True):
    """Cgroup settings of one handler; None when the runtime says nothing of it."""

    writable: bool | None
    """containerd's `cgroup_writable`, since 2.1; of CRI-O, whether the annotation that asks for it is allowed."""
    systemd: bool | None
    """True when the OCI runtime asks systemd for cgroups."""


class Cgroups(Struct, frozen=True, kw_only=True):
    """Cgroup settings of a container runtime."""

    default_handler: str
    handlers: dict[str, HandlerCgroup]
    allowed_devices: tuple[str, ...] | None = None
    """CRI-O's list of devices for Pods that ask by annotation."""


class _Options(Struct):
    systemd_cgroup: bool = field(default=False, name="SystemdCgroup")


class _Runtime(Struct, rename="camel"):
    cgroup_writable: bool | None = None
    options: _Options | None = None


class _Containerd(Struct, rename="camel"):
    default_runtime_name: str = ""
    runtimes: dict[str, _Runtime] | None = None


class _Info(Struct):
    containerd: _Containerd


class _CrioRuntime(Struct, rename="pascal"):
    disallowed_annotations: tuple[str, ...] | None = None


class _Crio(Struct, rename="pascal"):
    runtimes: dict[str, _CrioRuntime]
    default_runtime: str = ""
    cgroup_manager_name: str = ""
    allowed_devices: tuple[str, ...] | None = None


class _CrioInfo(Struct):
    crio: _Crio


def gather_cgroups(answer: CriAnswer) -> Reading[Cgroups]:
    """Cgroup settings in force."""
    return parse_status(answer, parse_containerd, parse_crio)


def parse_containerd(text: str) -> Cgroups:
    """`config` of containerd's verbose Status. *Errors*: ValueError for anything else."""
    known = decode_json(text, _Info).containerd
    runtimes = (known.runtimes or {}).items()
    return Cgroups(
        default_handler=known.default_runtime_name,
        handlers={
            name: HandlerCgroup(one.cgroup_writable, (one.options or _Options()).systemd_cgroup)
            for name, one in runtimes
        },
    )


def parse_crio(text: str) -> Cgroups:
    """`config` of CRI-O's verbose Status, with one cgroup driver for all handlers. *Errors*: as above."""
    known = decode_json(text, _CrioInfo).crio
    systemd = known.cgroup_manager_name == "systemd" if known.cgroup_manager_name else None
    return Cgroups(
        default_handler=known.default_runtime,
        handlers={name: HandlerCgroup(_allowed(one), systemd) for name, one in known.runtimes.items()},
        allowed_devices=known.allowed_devices and known.allowed_devices[:100],
    )


def writable_of(cgroups: Reading[Cgroups], handler: str) -> Reading[bool]:
    """True when the handler, empty for the default one, gives a writable cgroup."""
    return cgroups.parse(lambda known: _told(_find(known, handler).writable, "a writable cgroup"))


def systemd_of(cgroups: Reading[Cgroups], handler: str) -> Reading[bool]:
    """True when the handler asks systemd for cgroups."""
    return cgroups.parse(lambda known: _told(_find(known, handler).systemd, "the cgroup driver"))


def devices_of(cgroups: Reading[Cgroups]) -> Reading[tuple[str, ...]]:
    """Devices that Pods may ask for by annotation; absent for containerd, which has no such list."""
    if cgroups.value is not None and cgroups.value.allowed_devices is None:
        return Reading.without(cgroups.source, "absent", "the runtime has no list of devices for Pods")
    return cgroups.parse(lambda known: known.allowed_devices or ())


def _allowed(runtime: _CrioRuntime) -> bool | None:
    """False when either name of the annotation is disallowed."""
    return None if runtime.disallowed_annotations is None else ANNOTATIONS.isdisjoint(runtime.disallowed_annotations)


def _find(cgroups: Cgroups, handler: str) -> HandlerCgroup:
    name = handler or cgroups.default_handler
    if name not in cgroups.handlers:
        raise ValueError(f"no handler {name[:60]!r} is configured")
    return cgroups.handlers[name]


def _told(value: bool | None, what: str) -> bool:
    if value is None:
        raise ValueError(f"nothing is said of {what}")
    return value
