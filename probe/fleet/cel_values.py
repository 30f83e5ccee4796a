"""Values of CEL, as far as policies on `hostUsers` need them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple


class Special(Enum):
    """A value that is none."""

    ABSENT = "absent"
    """Of a field that is not set."""
    ERROR = "error"
    UNKNOWN = "unknown"


ABSENT, ERROR, UNKNOWN = Special.ABSENT, Special.ERROR, Special.UNKNOWN
HostUsers = bool | Special
STATES: tuple[HostUsers, ...] = (ABSENT, True, False)
"""What a Pod may say: nothing, true or false."""


Known = Mapping[tuple[str, ...], Any]
"""Path -> its value."""
NOTHING: Known = MappingProxyType({})


class Path(NamedTuple):
    """A field of the object, not read yet."""

    names: tuple[str, ...]


class Maybe(NamedTuple):
    """An optional value."""

    value: Any
    """ABSENT for none."""


class Made(NamedTuple):
    """An object or a map that the expression makes, such as a JSONPatch."""

    fields: dict[str, Any]


def chosen(condition: Any, yes: Any, no: Any) -> Any:
    """`condition ? yes : no`. An unknown condition may be an error, so nothing follows from it.

    But the spec of a Pod is the one and the other of `object.kind == "Pod" ? object.spec : object.spec.template.spec`.
    """
    if isinstance(condition, bool):
        return yes if condition else no
    return ERROR if condition is ERROR else yes if yes == no == Path(("pod",)) else UNKNOWN


def absorbed(left: Any, right: Any, absorbing: bool) -> Any:
    """`left || right` where *absorbing* is true, `left && right` where it is false."""
    sides = [side if isinstance(side, bool) or side is ERROR else UNKNOWN for side in (left, right)]
    for one in (absorbing, UNKNOWN, ERROR):
        if any(side is one for side in sides):
            return one
    return not absorbing


def compared(operator: str, left: Any, right: Any) -> Any:
    """`left == right` and its like."""
    if ERROR in (left, right):
        return ERROR
    if isinstance(left, Maybe) and isinstance(right, Maybe):
        left, right = left.value, right.value
    if operator not in ("==", "!="):
        return UNKNOWN
    if isinstance(left, str) and isinstance(right, str):
        return (left == right) == (operator == "==")
    known = all(isinstance(side, bool) or side in (None, ABSENT) for side in (left, right))
    return (left is right) == (operator == "==") if known else UNKNOWN


def contained(value: Any, whole: Any) -> Any:
    """`value in whole`, a list of strings or of booleans."""
    for kind in (bool, str):
        if isinstance(whole, list) and isinstance(value, kind) and all(isinstance(one, kind) for one in whole):
            return value in whole
    return ERROR if value is ERROR else UNKNOWN


def added(left: Any, right: Any) -> Any:
    """`left + right` of two strings or lists."""
    if ERROR in (left, right):
        return ERROR
    alike = any(isinstance(left, kind) and isinstance(right, kind) for kind in (str, list))
    return left + right if alike else UNKNOWN


def method_of(held: Any, name: str, argument: Any) -> Any:
    """The method *name* of an optional value that is *held*, or ABSENT."""
    if name == "orValue":
        return argument if held is ABSENT else held
    if name == "hasValue":
        return held is not ABSENT if held is not UNKNOWN else UNKNOWN
    return (ERROR if held is ABSENT else held) if name == "value" else UNKNOWN


def escaped(key: Any) -> Any:
    """`jsonpatch.escapeKey(key)`. *Source*: RFC 6901, 3."""
    return key.replace("~", "~0").replace("/", "~1") if isinstance(key, str) else UNKNOWN
