"""Values of Kyverno's variables `{{ … }}`, JMESPath, for the three values of a Pod's `hostUsers`. Pure.

*Source*: the JMESPath specification: `||` passes over everything that is false or null, so
``hostUsers || `true` `` is true of a Pod that says false.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from probe.fleet.cel_values import ABSENT, UNKNOWN, HostUsers

LONGEST, DEEPEST = 1000, 20
NOT_FOUND: Any = object()
"""Of a variable whose value is null: Kyverno takes that for an error, or for an empty string, by version."""
_TOKEN = re.compile(
    r"\s*(?:(?P<literal>`(?:[^`\\]|\\.)*`)|(?P<raw>'(?:[^'\\]|\\.)*')|(?P<name>[A-Za-z_]\w*)|(?P<quoted>\"[^\"\\]*\")"
    r"|(?P<operator>\|\||&&|[=!]=|[!().,@])|(?P<end>\Z))"
)
_VARIABLE = re.compile(r"\{\{(.*)\}\}", re.DOTALL)
_POD = ("request", "object", "spec")
_SPECS = {_POD, (*_POD, "template", "spec"), (*_POD, "jobTemplate", "spec", "template", "spec")}
_FACTS = {("request", "operation"): "CREATE", ("request", "object", "kind"): "Pod"}
"""Of a Pod that is created."""
_KEYS: Any = object()
"""The names of the fields that a Pod's spec has."""


def substituted(value: Any, state: HostUsers) -> Any:
    """*value* with its variables replaced, for a Pod in *state*: UNKNOWN, or NOT_FOUND where one is null."""
    if isinstance(value, list):
        found = [substituted(one, state) for one in value]
        return next((bad for bad in (UNKNOWN, NOT_FOUND) if any(one is bad for one in found)), found)
    if not isinstance(value, str) or "{{" not in value:
        return UNKNOWN if isinstance(value, dict) or (isinstance(value, str) and "$(" in value) else value
    whole = _VARIABLE.fullmatch(value.strip())
    if whole is None or "{{" in whole[1] or len(value) > LONGEST:
        return UNKNOWN
    try:
        found = _Query(whole[1], state).whole()
    except ValueError:
        return UNKNOWN
    if found is _KEYS:
        return ["containers", *(["hostUsers"] if state is not ABSENT else [])]
    return NOT_FOUND if found is None else found


class _Query:
    """A query that is evaluated while it is read. *Errors*: ValueError, for what is not understood."""

    def __init__(self, text: str, state: HostUsers) -> None:
        self._tokens, self._state, self._depth = _tokens(text), state, 0
        self._kind, self._token = next(self._tokens)

    def whole(self) -> Any:
        found = self._or()
        if self._kind != "end":
            raise ValueError(self._token)
        return found

    def _take(self, *operators: str) -> str:
        token = self._token
        if self._kind != "operator" or token not in operators:
            return ""
        self._kind, self._token = next(self._tokens)
        return token

    def _next(self) -> tuple[str, str]:
        found = self._kind, self._token
        if found[0] == "end":
            raise ValueError("cut off")
        self._kind, self._token = next(self._tokens)
        return found

    def _or(self) -> Any:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("nested too deeply")
        found = self._and()
        while self._take("||"):
            other = self._and()
            truth = _truth(found)
            found = UNKNOWN if truth is None else found if truth else other
        self._depth -= 1
        return found

    def _and(self) -> Any:
        found = self._compared()
        while self._take("&&"):
            other = self._compared()
            truth = _truth(found)
            found = UNKNOWN if truth is None else other if truth else found
        return found

    def _compared(self) -> Any:
        found = self._unary()
        while operator := self._take("==", "!="):
            other = self._unary()
            unknown = any(one is UNKNOWN or one is _KEYS for one in (found, other))
            found = UNKNOWN if unknown else ((type(found), found) == (type(other), other)) == (operator == "==")
        return found

    def _unary(self) -> Any:
        if self._take("!"):
            truth = _truth(self._unary())
            return UNKNOWN if truth is None else not truth
        if self._take("("):
            found = self._or()
            self._expect(")")
            return found
        kind, token = self._next()
        if kind == "literal":
            return _literal(token[1:-1])
        if kind == "raw":
            return token[1:-1]
        if kind not in ("name", "quoted"):
            raise ValueError(token)
        return self._called(token) if self._take("(") else self._path(token.strip('"'))

    def _path(self, first: str) -> Any:
        names = [first]
        while self._take("."):
            kind, name = self._next()
            if kind not in ("name", "quoted"):
                raise ValueError(name)
            if self._take("("):
                self._expect("@")
                self._expect(")")
                return _KEYS if name == "keys" and tuple(names) in _SPECS else UNKNOWN
            names.append(name.strip('"'))
        if tuple(names[:-1]) in _SPECS and names[-1] == "hostUsers":
            return None if self._state is ABSENT else self._state
        return _FACTS.get(tuple(names), _SPEC if tuple(names) in _SPECS else UNKNOWN)

    def _called(self, name: str) -> Any:
        found = []
        while not self._take(")"):
            found.append(self._or())
            if not self._take(","):
                self._expect(")")
                break
        if name == "not_null" and not any(one is UNKNOWN for one in found):
            return next((one for one in found if one is not None), None)
        if name == "keys" and found == [_SPEC]:
            return _KEYS
        if name == "contains" and len(found) == 2 and found[0] is _KEYS and found[1] == "hostUsers":
            return self._state is not ABSENT
        if name == "to_string" and len(found) == 1 and (found[0] is None or isinstance(found[0], bool)):
            return json.dumps(found[0])
        return UNKNOWN

    def _expect(self, operator: str) -> None:
        if not self._take(operator):
            raise ValueError(f"no {operator}")


_SPEC: Any = object()
"""The spec of the Pod."""


def _literal(text: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return UNKNOWN
    return found if found is None or isinstance(found, (bool, str)) else UNKNOWN


def _truth(value: Any) -> bool | None:
    """Whether *value* counts as true; None: not known. False, null and what is empty do not."""
    if value is UNKNOWN:
        return None
    return value not in (None, False, "")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """(Kind, token), the last of the kind `end`. *Errors*: ValueError."""
    at = 0
    while True:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise ValueError("no token")
        yield found.lastgroup, found[found.lastgroup]
        if found.lastgroup == "end":
            return
        at = found.end()
