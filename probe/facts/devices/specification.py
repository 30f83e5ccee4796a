"""Parser of a CDI specification, JSON or YAML.

*Source*: Container Device Interface, SPEC.md, `pkg/cdi/spec.go`, `specs-go/version.go`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from probe.facts.devices.model import CdiEdits, CdiHook, CdiMount, CdiNode, CdiSpecification
from probe.facts.go_json import convert, parse

_DEVICES = 2000
_EDITS = 2000  # of one file
_GIDS = 3  # the largest ones, which alone may have no mapping
_PATH_LIMIT = 4095
_PART = r"[A-Za-z](?:[\w.-]{0,251}[A-Za-z0-9])?"
_KIND = re.compile(f"{_PART}/{_PART}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9](?:[\w.:-]{0,251}[A-Za-z0-9])?", re.ASCII)
_VERSIONS = re.compile(r"v?(?:0\.[3-8]|1\.[01])\.0")
"""Versions of the specification that a CDI library takes; each knows none that came after it."""
_STAGES = frozenset(("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"))


_LABEL = r"[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?"
_ANNOTATION = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL}", re.ASCII)
_RDT_OF_1_1 = ("schemata", "enableMonitoring")
_RDT = frozenset((*_RDT_OF_1_1, "closID", "l3CacheSchema", "memBwSchema", "enableCMT", "enableMBM"))
_Id = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=0x7FFFFFFFFFFFFFFF)]


class _Node(Struct, rename="camel"):
    path: str
    host_path: str | None = None
    type: str | None = None
    major: _Number | None = None
    minor: _Number | None = None
    file_mode: _Id | None = None
    permissions: str | None = None
    uid: _Id | None = None
    gid: _Id | None = None


class _Mount(Struct, rename="camel"):
    host_path: str
    container_path: str
    options: tuple[str, ...] | None = None
    type: str | None = None


class _Hook(Struct, rename="camel"):
    hook_name: str
    path: str
    args: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    timeout: int | None = None


class _Interface(Struct, rename="camel"):
    host_interface_name: str
    name: str


class _Edits(Struct, rename="camel"):
    env: tuple[str, ...] | None = None
    device_nodes: tuple[_Node, ...] | None = None
    net_devices: tuple[_Interface, ...] | None = None
    hooks: tuple[_Hook, ...] | None = None
    mounts: tuple[_Mount, ...] | None = None
    intel_rdt: dict[str, Any] | None = None
    additional_gids: tuple[_Id, ...] | None = None

    def is_empty(self) -> bool:
        """True when nothing is added, which a CDI library refuses for a device."""
        return self.intel_rdt is None and not any(getattr(self, name) for name in self.__struct_fields__)


class _Device(Struct, rename="camel"):
    name: str | int | float | bool  # without quotes it becomes text
    annotations: dict[str, str] | None = None
    container_edits: _Edits = msgspec.field(default_factory=_Edits)


class _Specification(Struct, rename="camel"):
    cdi_version: str
    kind: str
    annotations: dict[str, str] | None = None
    devices: tuple[_Device, ...] | None = None
    container_edits: _Edits | None = None


def parse_specification(content: bytes, file: str) -> CdiSpecification:
    """Specification in *content*.

    *Errors*: ValueError for anything that a CDI library refuses, which then leaves out the whole file: other types,
    unknown fields, those of a later version, malformed names, a device without edits or of a name that is taken. Also
    beyond 2000 devices or edits.
    """
    found = _decode(content)
    if not _VERSIONS.fullmatch(found.cdi_version):
        raise ValueError(f"has the version {found.cdi_version[:20]!r}, of which nothing is known")
    needed = max(_versions(found), default=(0, 3))
    if tuple(map(int, found.cdi_version.removeprefix("v").split(".")[:2])) < needed:
        raise ValueError(f"has fields of version {needed[0]}.{needed[1]}.0, and says {found.cdi_version}")
    if not _KIND.fullmatch(found.kind):
        raise ValueError("its kind is not VENDOR/CLASS")
    devices = found.devices or ()
    notes = [*(found.annotations or ()), *(name for device in devices for name in device.annotations or ())]
    if not all(map(_ANNOTATION.fullmatch, notes)):
        raise ValueError("has a malformed annotation")
    if len(devices) > _DEVICES:
        raise ValueError(f"has more than {_DEVICES} devices")
    named: dict[str, CdiEdits] = {}
    for device in devices:
        name = _text_of(device.name)
        if not _NAME.fullmatch(name):
            raise ValueError("has a device of a malformed name")
        if name in named:
            raise ValueError(f"has two devices {name}")
        if device.container_edits.is_empty():
            raise ValueError(f"its device {name} adds nothing")
        named[name] = _edits(device.container_edits)
    edits = _edits(found.container_edits or _Edits())
    if sum(len(one.nodes) + len(one.mounts) + len(one.hooks) for one in (edits, *named.values())) > _EDITS:
        raise ValueError(f"has more than {_EDITS} edits")
    return CdiSpecification(file=file, kind=found.kind, edits=edits, devices=named)


def _decode(content: bytes) -> _Specification:
    text = content.decode()
    try:
        value = parse(text)
    except ValueError:
        from probe.facts.kubelet.config import parse_document  # with YAML, which only such a file needs

        value = parse_document(text)
    return convert(value, _Specification, strict=True)


def _text_of(name: str | float) -> str:
    return name if isinstance(name, str) else json.dumps(name)


def _versions(found: _Specification) -> Iterator[tuple[int, int]]:
    """Versions that brought what a specification has. A CDI library refuses it under an earlier one."""
    devices = found.devices or ()
    if found.annotations or any(device.annotations for device in devices) or "." in found.kind.partition("/")[2]:
        yield 0, 6
    if any(not _text_of(device.name)[:1].isalpha() for device in devices):
        yield 0, 5
    for edits in (found.container_edits or _Edits(), *(device.container_edits for device in devices)):
        if edits.net_devices or any(name in (edits.intel_rdt or {}) for name in _RDT_OF_1_1):
            yield 1, 1
        if edits.intel_rdt is not None or edits.additional_gids:
            yield 0, 7
        if any(node.host_path for node in edits.device_nodes or ()):
            yield 0, 5
        if any(mount.type for mount in edits.mounts or ()):
            yield 0, 4


def _edits(edits: _Edits) -> CdiEdits:
    for hook in edits.hooks or ():
        if hook.hook_name not in _STAGES:
            raise ValueError("has a hook of an unknown name")
    variables = [*(edits.env or ()), *(each for hook in edits.hooks or () for each in hook.env or ())]
    if not all(variable.find("=") > 0 for variable in variables):
        raise ValueError("has an environment variable without a name or a value")
    _demand_rdt(edits.intel_rdt or {})
    links = edits.net_devices or ()
    for names in ([link.host_interface_name for link in links], [link.name for link in links]):
        if not all(names) or len(set(names)) < len(names):
            raise ValueError("has network interfaces of empty or equal names")
    found = CdiEdits(
        nodes=tuple(map(_node, edits.device_nodes or ())),
        mounts=tuple(
            CdiMount(mount.host_path, mount.container_path, mount.type or "", mount.options or ())
            for mount in edits.mounts or ()
        ),
        hooks=tuple(CdiHook(hook.hook_name, hook.path) for hook in edits.hooks or ()),
        gids=tuple(sorted(set(edits.additional_gids or ()) - {0}))[-_GIDS:],
        interfaces=len(edits.net_devices or ()),
    )
    paths = [path for node in found.nodes for path in (node.path, node.host_path)]
    paths += [path for mount in found.mounts for path in (mount.source, mount.target)]
    paths += [hook.program for hook in found.hooks]
    if not all(0 < len(path) <= _PATH_LIMIT and "\0" not in path for path in paths):
        raise ValueError("has an empty or overlong path")
    return found


def _demand_rdt(settings: dict[str, Any]) -> None:
    """Refuse a class that is not a name of a file. *Errors*: ValueError."""
    group = settings.get("closID", "")
    plain = isinstance(group, str) and len(group) < 4096 and group not in (".", "..") and not set(group) & set("/\n")
    if not set(settings) <= _RDT or not (plain or group == "/"):
        raise ValueError("has malformed settings of Intel RDT")


def _node(node: _Node) -> CdiNode:
    if not set(node.permissions or "") <= set("rwm") or (node.type or "b") not in ("b", "c", "u", "p"):
        raise ValueError("has a device node of a malformed type or malformed permissions")
    host_path, number = node.host_path or node.path, node.major or 0
    typed = bool(node.type) and (number != 0 or node.type == "p")
    return CdiNode(node.path, host_path, typed, node.permissions or "rwm")
