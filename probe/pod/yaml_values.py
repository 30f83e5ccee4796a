"""Values of a YAML document, built from the events of libyaml, without recursion.

An alias is the object that its anchor names, not a copy, and what all aliases of a document stand for is counted: ten
lines could otherwise mean a billion values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

DEPTH = 100
ALIASED = 100_000
"""Most values that the aliases of one document may stand for."""

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
"""Plain words that are no strings. *Source*: YAML 1.1, without its `y` and `n`, which libraries take for strings."""
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
_PREFIXED = re.compile(r"[-+]?0(x[0-9a-fA-F]{1,16}|o?[0-7]{1,22}|b[01]{1,64})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,3})?")

_PLAIN = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "null"))
_LARGEST_WITHOUT_EXPONENT = 1e21
"""*Source*: encoding/json of Go, which kubectl turns YAML into: smaller floats are written like integers."""


def parse_yaml(text: str) -> Iterator[Any]:
    """The value of a document, none when it is empty; before it, the items of a list. *Errors*: ValueError."""
    import yaml  # takes longer to import than many a manifest takes to read

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder()
    try:
        for event in yaml.parse(text, loader):
            builder.add(event)
            if builder.item is not None:
                yield {"kind": "List", "items": [builder.item]}
                builder.item = None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ValueError(f"{error.problem}{f', line {mark.line + 1} of the document' if mark else ''}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    if builder.value is not None:
        yield builder.value


class _Builder:
    """Builder of a value from events."""

    def __init__(self) -> None:
        self.value: Any = None
        self.item: Any = None
        """An object of a list that is complete: of a list of ten thousand Pods only one is in memory as a whole."""
        self._open: list[tuple[Any, str | None, int]] = []
        """Collections, the innermost last, with their anchors and the number of values before each."""
        self._keys: list[Any] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._count = 0
        self._aliased = 0

    def add(self, event: Any) -> None:
        """Take in the next event. *Errors*: ValueError."""
        kind = type(event).__name__
        if kind == "ScalarEvent":
            self._count += 1
            self._put(event.value if self._wants_key() else _scalar(event), event.anchor, 1)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            if len(self._open) >= DEPTH:
                raise ValueError("is nested too deeply")
            self._open.append(({} if kind == "MappingStartEvent" else [], event.anchor, self._count))
            self._keys.append(_NONE)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            value, anchor, before = self._open.pop()
            self._keys.pop()
            self._count += 1
            self._put(value, anchor, self._count - before)
        elif kind == "AliasEvent":
            self._alias(event.anchor)
        elif kind == "DocumentStartEvent" and self.value is not None:
            raise ValueError("has a second document without a line --- before it")

    def _wants_key(self) -> bool:
        """Whether the next value is the key of a mapping, which is a string, however it reads."""
        return bool(self._open) and self._keys[-1] is _NONE and isinstance(self._open[-1][0], dict)

    def _alias(self, anchor: str) -> None:
        if anchor not in self._anchors:
            raise ValueError(f"alias {anchor[:80]!r} has no anchor before it")
        value, size = self._anchors[anchor]
        self._count += size
        self._aliased += size
        if self._aliased > ALIASED:
            raise ValueError(f"its aliases stand for more than {ALIASED} values")
        self._put(value, None, size)

    def _put(self, value: Any, anchor: str | None, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = value, size
        if not self._open:
            self.value = value
            return
        inner = self._open[-1][0]
        if isinstance(inner, list):
            if len(self._open) == 2 and self._keys[0] == "items" and _is_object(value):
                self.item = value
            else:
                inner.append(value)
        elif self._keys[-1] is _NONE:
            if not isinstance(value, str):
                raise ValueError("has a key that is not a scalar")
            self._keys[-1] = value
        else:
            key, self._keys[-1] = self._keys[-1], _NONE
            if key == "<<":
                _merge(inner, value)
            else:
                inner[key] = value


_NONE: Any = object()


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("kind"), str)


def _merge(inner: dict[str, Any], value: Any) -> None:
    """The merge key of YAML 1.1: what the mapping has itself counts."""
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict):
            raise ValueError("merges (<<) what is not a mapping")
        for name, inherited in one.items():
            inner.setdefault(name, inherited)


def _scalar(event: Any) -> Any:
    """The value of a scalar: a string where it is quoted or has a tag, but that of a boolean or a number."""
    text: str = event.value
    if event.tag not in _PLAIN and (not event.implicit[0] or event.style not in (None, "")):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in "+-.0123456789":
        return text
    return _number(text if text[0] == "." else text.replace("_", ""), text)


def _number(digits: str, text: str) -> Any:
    """The number that *digits* are, an integer where Go writes one into JSON; else *text*."""
    if _INTEGER.fullmatch(digits):
        return int(digits)
    if _PREFIXED.fullmatch(digits):
        plain = digits.lower().lstrip("+-")
        number = int(plain, 8) if plain[1:2].isdigit() else int(plain, 0)
        return -number if digits[0] == "-" else number
    if not _FLOAT.fullmatch(digits):
        return text
    value = float(digits)
    return int(value) if value.is_integer() and abs(value) < _LARGEST_WITHOUT_EXPONENT else value
