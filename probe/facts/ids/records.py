"""The files in which a kubelet keeps the user namespaces of its Pods: `<root-dir>/pods/<uid>/userns`.

They outlive it: at its next start it takes each of them up again, or ends.
*Source*: kubelet, `pkg/kubelet/userns/userns_manager.go`; Go, `encoding/json`.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct

from probe.facts.defaults import MAX_UINT32
from probe.facts.model import Mapping, PodUserns, UsernsFile
from probe.host.host import Host
from probe.reading import Reading

MAX_UINT32 = (1 << 32) - 1


class Mapping(Struct, frozen=True):
    """One line of a map, as the kubelet keeps it."""

    host_id: int = 0
    container_id: int = 0
    length: int = 0


class PodUserns(Struct, frozen=True):
    """What such a file says."""

    uid_mappings: tuple[Mapping, ...] = ()
    gid_mappings: tuple[Mapping, ...] = ()


class UsernsFile(Struct, frozen=True, kw_only=True):
    """The file of one Pod."""

    pod: str
    """The Pod's UID: the name of its directory."""
    content: Reading[PodUserns]
    malformed: bool = False
    """It was read, and the kubelet cannot decode it either. Any other problem is ours: nobody knows what it says."""


def gather_userns_files(host: Host, directory: str) -> Reading[tuple[UsernsFile, ...]]:
    """The files of every Pod below *directory*, in the kubelet's order; none where there is no such directory.

    A Pod without a user namespace has no such file, or an empty one.
    """
    names = host.list_directory(directory)
    if names.kind == "absent":
        return Reading(directory, ())
    if names.value is None:
        return Reading(directory, None, names.problem, names.kind)
    strange = [name for name in names.value if not _is_text(name)]
    if strange:
        return Reading.without(directory, "not-readable", f"{len(strange)} names in it are no UTF-8")
    paths = {f"{name}/userns": name for name in names.value}
    read = host.read_all_beneath(directory, list(paths))
    found = [_file(paths[path], content) for path, content in read.items() if content.value or _failed(content)]
    return Reading(directory, tuple(sorted(found, key=lambda file: file.pod)))


def parse_pod_userns(content: bytes) -> PodUserns:
    """What the kubelet's decoder makes of a `userns` file; ValueError where it gives up.

    As Go does: names in any case, the last of two counts, `null` and what is missing are zero, what is not known is
    skipped; a number is a whole one from 0 to 4294967295, written without sign, point and exponent.
    """
    try:
        document = json.loads(
            content.decode(errors="replace"),
            object_pairs_hook=_Object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
        )
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    fields = _fields(document, "the file")
    return PodUserns(
        _mappings(fields.get("uidmappings"), "uidMappings"), _mappings(fields.get("gidmappings"), "gidMappings")
    )


class _Object(list[tuple[str, Any]]):
    """A JSON object in the order of its names; a plain list is a JSON array."""


class _Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


def _fields(value: object, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, _Object):
        raise ValueError(f"{what} is no JSON object")
    return {name.casefold(): field for name, field in value}


def _mappings(value: object, name: str) -> tuple[Mapping, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or isinstance(value, _Object):
        raise ValueError(f"{name} is no JSON array")
    return tuple(_mapping(_fields(item, f"an element of {name}")) for item in value)


def _mapping(fields: dict[str, Any]) -> Mapping:
    host_id, container_id, length = (_uint32(fields.get(name), name) for name in ("hostid", "containerid", "length"))
    return Mapping(host_id, container_id, length)


def _uint32(value: object, name: str) -> int:
    if value is None:
        return 0
    if isinstance(value, _Number) and value.isdecimal() and len(value) <= 10 and int(value) <= MAX_UINT32:
        return int(value)
    raise ValueError(f"{name} is no whole number from 0 to {MAX_UINT32}: {str(value)[:40]!r}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _file(pod: str, content: Reading[bytes]) -> UsernsFile:
    parsed = content.parse(parse_pod_userns)
    return UsernsFile(pod=pod, content=parsed, malformed=content.value is not None and parsed.value is None)


def _failed(content: Reading[bytes]) -> bool:
    return content.value is None and content.kind != "absent"


def _is_text(name: str) -> bool:
    return all(not 0xD800 <= ord(character) <= 0xDFFF for character in name)
