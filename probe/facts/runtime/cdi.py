"""CDI settings of a container runtime, as the verbose Status of CRI has them."""

from __future__ import annotations

from msgspec import Struct, field

from probe.facts.devices.model import CdiSettings
from probe.facts.runtime.config import decode_json, parse_status
from probe.facts.runtime.oci import parse_version_number
from probe.host.cri import CriAnswer
from probe.reading import Reading, problem_of

DEFAULT_FOLDERS = ("/etc/cdi", "/var/run/cdi")
"""Folders in which runtimes look for CDI specifications. *Source*: Container Device Interface, SPEC.md."""

_FOLDERS = 20
_PATH_LIMIT = 4095
_CRIO_MAPS = (1, 35, 0)
_CONTAINERD_MAPS = ((2, 2, 1), (2, 3, 0))
"""First releases with CDI 1.1.0; releases of older branches keep CDI 1.0. *Source*: go.mod of their tags."""


class _Info(Struct, rename="camel"):
    folders: tuple[str, ...] | None = field(default=None, name="cdiSpecDirs")
    enabled: bool | None = field(default=None, name="enableCDI")


class _CrioTable(Struct):
    folders: tuple[str, ...] | None = field(default=None, name="CDISpecDirs")


class _CrioInfo(Struct):
    crio: _CrioTable


def gather_cdi_settings(answer: CriAnswer) -> Reading[CdiSettings]:
    """Folders and switch of CDI; a problem when the runtime does not tell them."""
    return parse_status(answer, parse_containerd, parse_crio)


def parse_containerd(text: str) -> CdiSettings:
    """`config` of containerd's verbose Status. *Errors*: ValueError without settings of CDI, as before 1.7."""
    info = decode_json(text, _Info)
    return CdiSettings(folders=_plain(info.folders), enabled=info.enabled is not False)


def parse_crio(text: str) -> CdiSettings:
    """`config` of CRI-O's verbose Status. *Errors*: ValueError without it, as before 1.34."""
    return CdiSettings(folders=_plain(decode_json(text, _CrioInfo).crio.folders))


def gather_maps_mounts(name: Reading[str], version: Reading[str]) -> Reading[bool]:
    """True when the CDI library of the runtime adds a mapping to bind mounts; a problem where that is not known."""
    if name.value is None:
        return problem_of(name)
    runtime = name.value
    if runtime not in ("containerd", "cri-o"):
        return Reading.without(name.source, "not-readable", f"unknown which CDI library {runtime[:60]} has")
    return version.parse(_demand_number).parse(lambda number: maps_mounts(runtime, number))


def maps_mounts(runtime: str, version: tuple[int, int, int]) -> bool:
    """True when the CDI library of containerd or CRI-O of *version* adds a mapping to bind mounts."""
    if runtime == "cri-o":
        return version >= _CRIO_MAPS
    first, second = _CONTAINERD_MAPS
    return version >= second or (version[:2] == first[:2] and version >= first)


def _demand_number(version: str) -> tuple[int, int, int]:
    number = parse_version_number(version)
    if number is None:
        raise ValueError("is not a version")
    return number


def _plain(folders: tuple[str, ...] | None) -> tuple[str, ...]:
    if folders is None:
        raise ValueError("names no folders of CDI specifications")
    return tuple(path for path in folders[:_FOLDERS] if path.startswith("/") and len(path) <= _PATH_LIMIT)
