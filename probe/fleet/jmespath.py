"""Values of Kyverno's variables `{{ … }}`, JMESPath, for the three values of a Pod's `hostUsers`. Pure.

*Source*: the JMESPath specification: `||` passes over everything that is false or null, so
``hostUsers || `true` `` is true of a Pod that says false.
"""

from __future__ import annotations

import json
import re
from typing import Any

from probe.fleet.cel_values import ABSENT, UNKNOWN, HostUsers
from probe.fleet.tokens import JMESPATH, Tokens

LONGEST, DEEPEST = 1000, 20
NOT_FOUND: Any = object()
"""Of a variable whose value is null: Kyverno takes that for an error, or for an empty string, by version."""
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
        self._tokens, self._state, self._depth = Tokens(text, JMESPATH), state, 0

    def whole(self) -> Any:
        found = self._or()
        if self._tokens.kind != "end":
            raise ValueError(self._tokens.token)
        return found

    def _or(self) -> Any:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("nested too deeply")
        found = self._and()
        while self._tokens.take("||"):
            other = self._and()
            truth = _truth(found)
            found = UNKNOWN if truth is None else found if truth else other
        self._depth -= 1
        return found

    def _and(self) -> Any:
        found = self._compared()
        while self._tokens.take("&&"):
            other = self._compared()
            truth = _truth(found)
            found = UNKNOWN if truth is None else other if truth else found
        return found

    def _compared(self) -> Any:
        found = self._unary()
        while operator := self._tokens.take("==", "!="):
            other = self._unary()
            unknown = any(one is UNKNOWN or one is _KEYS for one in (found, other))
            found = UNKNOWN if unknown else ((type(found), found) == (type(other), other)) == (operator == "==")
        return found

    def _unary(self) -> Any:
        negations = 0
        while self._tokens.take("!"):
            negations += 1
        found = self._operand()
        if not negations:
            return found
        truth = _truth(found)
        return UNKNOWN if truth is None else truth == (negations % 2 == 0)

    def _operand(self) -> Any:
        if self._tokens.take("("):
            found = self._or()
            self._tokens.expect(")")
            return found
        kind, token = self._tokens.kind, self._tokens.next()
        if kind == "literal":
            return _literal(token[1:-1])
        if kind == "raw":
            return token[1:-1]
        if kind not in ("name", "quoted"):
            raise ValueError(token)
        return self._called(token) if self._tokens.take("(") else self._path(token.strip('"'))

    def _path(self, first: str) -> Any:
        names = [first]
        while self._tokens.take("."):
            kind, name = self._tokens.kind, self._tokens.next()
            if kind not in ("name", "quoted"):
                raise ValueError(name)
            if self._tokens.take("("):
                self._tokens.expect("@")
                self._tokens.expect(")")
                return _KEYS if name == "keys" and tuple(names) in _SPECS else UNKNOWN
            names.append(name.strip('"'))
        if tuple(names[:-1]) in _SPECS and names[-1] == "hostUsers":
            return None if self._state is ABSENT else self._state
        return _FACTS.get(tuple(names), _SPEC if tuple(names) in _SPECS else UNKNOWN)

    def _called(self, name: str) -> Any:
        found = [self._or() for _ in self._tokens.items(")")]
        if name == "not_null" and not any(one is UNKNOWN for one in found):
            return next((one for one in found if one is not None), None)
        if name == "keys" and found == [_SPEC]:
            return _KEYS
        if name == "contains" and len(found) == 2 and found[0] is _KEYS and found[1] == "hostUsers":
            return self._state is not ABSENT
        if name == "to_string" and len(found) == 1 and (found[0] is None or isinstance(found[0], bool)):
            return json.dumps(found[0])
        return UNKNOWN


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
