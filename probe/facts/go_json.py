"""JSON as encoding/json of Go decodes it into a struct, which is how container runtimes read what people write.

Go takes a field by its name in any case, and of a field that is there twice it keeps what the second one does not
replace. msgspec takes exact names, and the last. *Source*: Go, encoding/json, Unmarshal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Any, NoReturn, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo, fields

T = TypeVar("T")

_FOLDED = {0x212A: "k", 0x017F: "s"}
"""Letters outside of ASCII that differ from one inside by case alone: the sign of Kelvin, and the long s."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_BLANK = re.compile(r"[ \t\r\n]*")


class Object(list[tuple[str, Any]]):
    """A JSON object: its names and values, in the order of the text, some of them twice."""

    __slots__ = ()


def fold(name: str) -> str:
    """*name* in the case in which Go compares names of fields."""
    return name.translate(_FOLDED).lower()


def decode(text: str, kind: type[T]) -> T:
    """*text* as a value of that type. *Errors*: ValueError for what Go refuses, or what has another type."""
    return convert(parse(text), kind)


def convert(value: Any, kind: type[T], strict: bool = False) -> T:
    """The value of `parse`, or a YAML document, as a value of that type.

    *Errors*: ValueError, with *strict* also for a field that is not known, or is there twice.
    """
    try:
        return msgspec.convert(_fit(value, kind, strict), kind)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse(text: str, stream: bool = False) -> Any:
    """The value of *text*, with each JSON object as an Object. *Errors*: ValueError.

    With *stream* only its first value is looked at, as `json.NewDecoder` does, unlike `json.Unmarshal`.
    """
    decoder = json.JSONDecoder(object_pairs_hook=Object, parse_constant=_refuse)
    try:
        value, end = decoder.raw_decode(text, _end_of_blank(text, 0))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not stream and _end_of_blank(text, end) < len(text):
        raise ValueError("has more behind its JSON value")
    return value


def _end_of_blank(text: str, start: int) -> int:
    found = _BLANK.match(text, start)
    return found.end() if found else start


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _fit(value: Any, kind: Any, strict: bool) -> Any:
    """*value* with the names of the fields of *kind*, and plain dictionaries."""
    if isinstance(kind, UnionType):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if isinstance(value, dict):
        value = Object((_key(name), one) for name, one in value.items())
    if isinstance(value, Object) and isinstance(kind, type) and issubclass(kind, Struct):
        return {field.encode_name: _fit(one, field.type, strict) for field, one in _fields(value, kind, strict)}
    if isinstance(value, Object):
        inner = get_args(kind)[1] if get_origin(kind) is dict else Any
        return {_text(name): _fit(one, inner, strict) for name, one in value}
    if isinstance(value, list):
        items = get_args(kind)[0] if get_origin(kind) is tuple else Any
        return [_fit(one, items, strict) for one in value]
    return _text(value) if isinstance(value, str) else value


def _key(name: object) -> str:
    """A key of a YAML mapping as the name in JSON. *Source*: sigs.k8s.io/yaml. *Errors*: ValueError."""
    if isinstance(name, bool | int | float):
        return json.dumps(name)
    if not isinstance(name, str):
        raise ValueError(f"a key is of type {type(name).__name__}")
    return name


def _fields(value: Object, kind: type[Struct], strict: bool) -> Iterator[tuple[FieldInfo, Any]]:
    """Each field that is there with its value; null leaves alone what cannot be null."""
    exact, folded = _names(kind)
    if strict and len({name for name, _ in value}) < len(value):
        raise ValueError("has a field twice")
    found: dict[str, Any] = {}
    for name, one in value:
        field = exact.get(name) or folded.get(fold(name))
        if strict and field is None:
            raise ValueError(f"has the unknown field {name[:40]!r}")
        if field is None or (one is None and not isinstance(field.type, UnionType)):
            continue
        before = found.get(field.encode_name)
        if isinstance(one, Object) and isinstance(before, Object):
            before.extend(one)
        else:
            found[field.encode_name] = Object(one) if isinstance(one, Object) else one
    return ((exact[name], one) for name, one in found.items())


@cache
def _names(kind: Hashable) -> tuple[dict[str, FieldInfo], dict[str, FieldInfo]]:
    """Fields of a Struct by their exact names, and by the names in the case in which Go compares them."""
    exact = {field.encode_name: field for field in fields(cast(type[Struct], kind))}
    return exact, {fold(name): field for name, field in reversed(exact.items())}


def _text(text: str) -> str:
    """*text* with half of a surrogate pair replaced, as Go does."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


class NullTwiceError(ValueError):
    """A JSON object with a name twice, of which null has another meaning for each type in Go."""


def merge_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as Go decodes it into one value: of a duplicate name maps merge, and else the last one counts."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found and (value is None or found[name] is None):
            raise NullTwiceError("has a name twice, once with null")
        found[name] = _merged(found[name], value) if name in found else value
    return found


def _merged(first: Any, second: Any) -> Any:
    if not isinstance(first, dict) or not isinstance(second, dict):
        return second
    return first | {name: _merged(first[name], value) if name in first else value for name, value in second.items()}
