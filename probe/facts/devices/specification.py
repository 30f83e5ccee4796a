"""Parser of a CDI specification, JSON or YAML. *Source*: Container Device Interface, SPEC.md."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from probe.facts.devices.model import CdiEdits, CdiHook, CdiMount, CdiNode, CdiSpecification
from probe.facts.go_json import convert, decode

_DEVICES = 2000
_EDITS = 2000  # of one file
_GIDS = 3  # the largest ones, which alone may have no mapping
_PATH_LIMIT = 4095
_PART = r"[A-Za-z](?:[\w.-]{0,251}[A-Za-z0-9])?"
_KIND = re.compile(f"{_PART}/{_PART}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9](?:[\w.:-]{0,251}[A-Za-z0-9])?", re.ASCII)
_VERSIONS = re.compile(r"v?(?:0\.[1-8]|1\.[01])\.0")
"""Versions of the specification that a CDI library knows; each knows none that came after it."""
_STAGES = frozenset(("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"))


class _Node(Struct, rename="camel"):
    path: str
    host_path: str | None = None
    type: str | None = None
    major: int | None = None
    permissions: str | None = None


class _Mount(Struct, rename="camel"):
    host_path: str
    container_path: str
    options: tuple[str, ...] | None = None
    type: str | None = None


class _Hook(Struct, rename="camel"):
    hook_name: str
    path: str


class _Edits(Struct, rename="camel"):
    env: tuple[str, ...] | None = None
    device_nodes: tuple[_Node, ...] | None = None
    net_devices: tuple[Any, ...] | None = None
    hooks: tuple[_Hook, ...] | None = None
    mounts: tuple[_Mount, ...] | None = None
    intel_rdt: dict[str, Any] | None = None
    additional_gids: tuple[int, ...] | None = None

    def is_empty(self) -> bool:
        """True when nothing is added, which a CDI library refuses for a device."""
        return not any(getattr(self, name) for name in self.__struct_fields__)


class _Device(Struct, rename="camel"):
    name: str | int  # a number without quotes becomes text
    container_edits: _Edits = msgspec.field(default_factory=_Edits)


class _Specification(Struct, rename="camel"):
    cdi_version: str
    kind: str
    devices: tuple[_Device, ...] | None = None
    container_edits: _Edits | None = None


def parse_specification(content: bytes, file: str) -> CdiSpecification:
    """Specification in *content*.

    *Errors*: ValueError for anything that a CDI library refuses, which then leaves out the whole file: other types,
    malformed names, a device without edits or of a name that is taken. Also beyond 2000 devices or edits.
    """
    found = _decode(content)
    if not _VERSIONS.fullmatch(found.cdi_version):
        raise ValueError(f"has the version {found.cdi_version[:20]!r}, of which nothing is known")
    if not _KIND.fullmatch(found.kind):
        raise ValueError("its kind is not VENDOR/CLASS")
    devices = found.devices or ()
    if len(devices) > _DEVICES:
        raise ValueError(f"has more than {_DEVICES} devices")
    named: dict[str, CdiEdits] = {}
    for device in devices:
        name = str(device.name)
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
    try:
        return decode(content.decode(), _Specification)
    except msgspec.ValidationError:
        raise
    except ValueError:
        from probe.facts.kubelet.config import parse_document  # with YAML, which only such a file needs

        return convert(parse_document(content.decode()), _Specification)


def _edits(edits: _Edits) -> CdiEdits:
    for hook in edits.hooks or ():
        if hook.hook_name not in _STAGES:
            raise ValueError("has a hook of an unknown name")
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


def _node(node: _Node) -> CdiNode:
    if not set(node.permissions or "") <= set("rwm") or (node.type or "b") not in ("b", "c", "u", "p"):
        raise ValueError("has a device node of a malformed type or malformed permissions")
    host_path, number = node.host_path or node.path, node.major or 0
    typed = bool(node.type) and (number != 0 or node.type == "p")
    return CdiNode(node.path, host_path, typed, node.permissions or "rwm")
