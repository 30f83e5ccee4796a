"""The files in which a kubelet keeps the user namespaces of its Pods: `<root-dir>/pods/<uid>/userns`.

The files outlive the kubelet: its next start accepts each of them, or exits.
*Source*: kubelet, `pkg/kubelet/userns/userns_manager.go`; Go, `encoding/json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from probe.facts.defaults import MAX_UINT32
from probe.facts.go_json import fold
from probe.facts.model import Mapping, PodUserns, UsernsFile
from probe.host.host import Host
from probe.reading import Reading, problem_of

_MAX_DEPTH = 10_000
"""Levels of objects and arrays that Go's decoder takes; Python's may take more, since 3.14."""


def gather_userns_files(host: Host, directory: str) -> Reading[tuple[UsernsFile, ...]]:
    """Files of all Pods below *directory*, in the kubelet's order; empty if the directory does not exist.

    A Pod without a user namespace has no such file, or an empty one.
    """
    names = host.list_directory(directory)
    if names.kind == "absent":
        return Reading(directory, ())
    if names.value is None:
        return problem_of(names)
    strange = [name for name in names.value if not _is_text(name)]
    if strange:
        return Reading.without(directory, "not-readable", f"{len(strange)} names in it are not UTF-8")
    paths = {f"{name}/userns": name for name in names.value}
    read = host.read_all_beneath(directory, list(paths))
    found = [_file(paths[path], content) for path, content in read.items() if content.value or _failed(content)]
    return Reading(directory, tuple(sorted(found, key=lambda file: file.pod)))


def parse_pod_userns(content: bytes) -> PodUserns:
    """Content of a `userns` file as the kubelet decodes it; ValueError where its decoder fails.

    Rules of Go's decoder: names in any case, the last of two wins, `null` and missing fields are zero, unknown fields
    are skipped; numbers are integers from 0 to 4294967295 without sign, point and exponent.
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
    if content.count(b"[") + content.count(b"{") > _MAX_DEPTH:  # else there is no need to look
        _demand_depth(document)
    fields = _fields(document, "the file")
    return PodUserns(
        _mappings(fields.get("uidmappings"), "uidMappings"), _mappings(fields.get("gidmappings"), "gidMappings")
    )


class _Object(list[tuple[str, Any]]):
    """JSON object as pairs in file order; a plain list is a JSON array."""


class _Number(str):
    """JSON number as its text."""

    __slots__ = ()


def _demand_depth(document: object) -> None:
    level = [document] if isinstance(document, list) else []
    for _ in range(_MAX_DEPTH):
        level = [part for value in level for part in _parts(value) if isinstance(part, list)]
        if not level:
            return
    raise ValueError("is nested too deeply")


def _parts(value: Any) -> Iterable[Any]:
    """Values of an object or elements of an array."""
    return (field for _, field in value) if isinstance(value, _Object) else value


def _fields(value: object, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, _Object):
        raise ValueError(f"{what} is not a JSON object")
    return {fold(name): field for name, field in value}


def _mappings(value: object, name: str) -> tuple[Mapping, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or isinstance(value, _Object):
        raise ValueError(f"{name} is not a JSON array")
    return tuple(_mapping(_fields(item, f"an element of {name}")) for item in value)


def _mapping(fields: dict[str, Any]) -> Mapping:
    host_id, container_id, length = (_uint32(fields.get(name), name) for name in ("hostid", "containerid", "length"))
    return Mapping(host_id, container_id, length)


def _uint32(value: object, name: str) -> int:
    if value is None:
        return 0
    if isinstance(value, _Number) and value.isdecimal() and len(value) <= 10 and int(value) <= MAX_UINT32:
        return int(value)
    raise ValueError(f"{name} is not a whole number from 0 to {MAX_UINT32}: {str(value)[:40]!r}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _file(pod: str, content: Reading[bytes]) -> UsernsFile:
    parsed = content.parse(parse_pod_userns)
    return UsernsFile(pod=pod, content=parsed, malformed=content.value is not None and parsed.value is None)


def _failed(content: Reading[bytes]) -> bool:
    return content.value is None and content.kind != "absent"


def _is_text(name: str) -> bool:
    return name.isascii() or all(not 0xD800 <= ord(character) <= 0xDFFF for character in name)
