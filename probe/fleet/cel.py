"""Answers of a CEL expression for the three values of a Pod's `hostUsers`; all else in it is unknown. Pure.

*Source*: the CEL specification: errors and unknown operands are absorbed by `false &&` and `true ||`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probe.fleet.cel_values import (
    ABSENT,
    ERROR,
    NOTHING,
    UNKNOWN,
    HostUsers,
    Known,
    Made,
    Maybe,
    Path,
    Special,
    absorbed,
    added,
    chosen,
    compared,
    contained,
    escaped,
    method_of,
)
from probe.fleet.tokens import CEL, Tokens

LONGEST, DEEPEST = 4000, 30
"""Characters and nested parts of an expression that is read; a larger one is unknown."""

_POD, _FIELD = Path(("pod",)), Path(("pod", "hostUsers"))
_SPECS = {
    ("object", "spec"),
    ("request", "object", "spec"),
    (*_POD.names, "template", "spec"),
    (*_POD.names, "jobTemplate", "spec", "template", "spec"),
}
"""Paths that are the spec of a Pod, in the one or the other kind of object."""
_WORDS = {"true": True, "false": False, "null": None}


def evaluate(text: str, variables: Mapping[str, str], host_users: HostUsers, known: Known = NOTHING) -> bool | Special:
    """The answer of *text* for a Pod with *host_users*: a boolean, ERROR or UNKNOWN.

    *variables*: the expressions of the policy's variables. *known*: values of other paths.
    """
    found = value_of(text, variables, host_users, known)
    return found if isinstance(found, bool) or found is ERROR else UNKNOWN


def value_of(text: str, variables: Mapping[str, str], host_users: HostUsers, known: Known = NOTHING) -> Any:
    """The value of *text* for a Pod with *host_users*: what it makes, such as a list of Made, or UNKNOWN."""
    root = _Expression("", variables, host_users, facts=known)
    return root.read(_value(text, root))


class _Expression:
    """An expression that is evaluated while it is read. *Errors*: ValueError, for what is not CEL, or too deep."""

    def __init__(
        self,
        text: str,
        variables: Mapping[str, str],
        host_users: HostUsers,
        depth: int = 0,
        known: dict[str, Any] | None = None,
        facts: Known = NOTHING,
    ) -> None:
        """*depth*: of the parts around it. *known*: variables that were read. *facts*: values of other paths."""
        self.tokens, self._variables, self._host_users, self._depth = Tokens(text, CEL), variables, host_users, depth
        self._known, self._facts = {} if known is None else known, facts

    def inner(self, text: str) -> _Expression:
        """The expression of a variable."""
        return _Expression(text, self._variables, self._host_users, self._depth + 1, self._known, self._facts)

    def read(self, value: Any) -> Any:
        """The value of a path, and of an optional one."""
        if isinstance(value, Maybe):
            return Maybe(self._host_users if value.value == _FIELD else self.read(value.value))
        if isinstance(value, Path):
            if value == _FIELD:
                return ERROR if self._host_users is ABSENT else self._host_users
            return self._facts.get(value.names, UNKNOWN)
        return value

    def ternary(self) -> Any:
        """The whole expression, or one in parentheses; a path stays one."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("nested too deeply")
        found = self._or()
        if self.tokens.take("?"):
            yes = self.ternary()
            self.tokens.expect(":")
            found = chosen(self.read(found), yes, self.ternary())
        self._depth -= 1
        return found

    def _or(self) -> Any:
        found = self._and()
        while self.tokens.take("||"):
            found = absorbed(self.read(found), self.read(self._and()), True)
        return found

    def _and(self) -> Any:
        found = self._relation()
        while self.tokens.take("&&"):
            found = absorbed(self.read(found), self.read(self._relation()), False)
        return found

    def _relation(self) -> Any:
        found = self._sum()
        while True:
            if (self.tokens.kind, self.tokens.token) == ("name", "in"):
                self.tokens.next()
                found = self._contained(self.read(found), self._sum())
            elif operator := self.tokens.take("==", "!=", "<", ">", "<=", ">="):
                found = compared(operator, self.read(found), self.read(self._sum()))
            else:
                return found

    def _contained(self, value: Any, whole: Any) -> Any:
        if whole == _POD and value == "hostUsers":
            return self._host_users is not ABSENT
        return contained(value, whole)

    def _sum(self) -> Any:
        found = self._unary()
        while operator := self.tokens.take("+", "-", "*", "/", "%"):
            other = self.read(self._unary())
            found = added(self.read(found), other) if operator == "+" else UNKNOWN
        return found

    def _unary(self) -> Any:
        operators = list(iter(lambda: self.tokens.take("!", "-"), ""))
        found = self._member()
        if not operators:
            return found
        value = self.read(found)
        if isinstance(value, bool) and "-" not in operators:
            return value ^ (len(operators) % 2 == 1)
        return ERROR if value is ERROR else UNKNOWN

    def _member(self) -> Any:
        found = self._primary()
        while operator := self.tokens.take(".", ".?", "[", "[?", "{"):
            if operator == "{":
                found = self._made()
            elif operator in ("[", "[?"):
                key = self.read(self.ternary())
                self.tokens.expect("]")
                found = self._selected(found, key if isinstance(key, str) else "", operator == "[?")
            else:
                name = self.tokens.next()
                called = operator == "." and self.tokens.take("(")
                found = self._called(found, name) if called else self._selected(found, name, operator == ".?")
        return found

    def _primary(self) -> Any:
        if self.tokens.take("("):
            found = self.ternary()
            self.tokens.expect(")")
            return found
        if self.tokens.take("["):
            items = [self.read(self.ternary()) for _ in self.tokens.items("]")]
            return next((bad for bad in (ERROR, UNKNOWN) if any(one is bad for one in items)), items)
        if self.tokens.take("{"):
            return self._made()
        kind, token = self.tokens.kind, self.tokens.next()
        if kind == "string":
            return token[1:-1] if token[0] in "\"'" and "\\" not in token else UNKNOWN
        if kind == "number":
            return UNKNOWN
        if kind != "name":
            raise ValueError(f"{token} where a value must be")
        if token in _WORDS:
            return _WORDS[token]
        return self._called(None, token) if self.tokens.take("(") else Path((token,))

    def _made(self) -> Any:
        """An object or a map whose brace is open; an optional field without a value is none."""
        fields: dict[str, Any] = {}
        for _ in self.tokens.items("}"):
            optional = self.tokens.take("?")
            key = self.ternary()
            self.tokens.expect(":")
            value = self.read(self.ternary())
            if optional and isinstance(value, Maybe):
                value = value.value
            name = key.names[0] if isinstance(key, Path) and len(key.names) == 1 else self.read(key)
            if not isinstance(name, str):
                fields[""] = UNKNOWN
            elif not optional or value is not ABSENT:
                fields[name] = value
        return ERROR if any(one is ERROR for one in fields.values()) else Made(fields)

    def _called(self, value: Any, name: str) -> Any:
        """A function, or a method of *value*, whose parenthesis is open."""
        arguments = [self.ternary() for _ in self.tokens.items(")")]
        first = arguments[0] if len(arguments) == 1 else UNKNOWN
        if name == "has" and value is None:
            return self._host_users is not ABSENT if first == _FIELD else True if first == _POD else UNKNOWN
        if name == "dyn" and value is None:
            return first
        if name == "escapeKey" and value == Path(("jsonpatch",)):
            return escaped(self.read(first))
        if value == Path(("optional",)):
            held = ABSENT if name == "none" else self.read(first) if name == "of" else UNKNOWN
            return ERROR if held is ERROR else Maybe(held)
        if not isinstance(value, Maybe):
            return ERROR if value is ERROR else UNKNOWN
        return method_of(self.read(value).value, name, self.read(first))

    def _selected(self, value: Any, name: str, optional: bool) -> Any:
        """The field *name* of *value*."""
        if isinstance(value, Maybe):
            return Maybe(self._selected(value.value, name, False))
        if not isinstance(value, Path):
            return ERROR if value is ERROR else UNKNOWN
        if value.names == ("variables",):
            found = self._variable(name)
        else:
            names = (*value.names, name)
            found = _POD if names in _SPECS else Path(names)
        return Maybe(found) if optional else found

    def _variable(self, name: str) -> Any:
        """The variable *name*, read once, which is not a path to the field; one that names itself is unknown."""
        if name not in self._known:
            self._known[name] = UNKNOWN
            found = _value(self._variables.get(name, ""), self)
            self._known[name] = self.read(found) if found == _FIELD else found
        return self._known[name]


def _value(text: str, around: _Expression) -> Any:
    """The value of *text*, a path as it is; UNKNOWN for what is not CEL, too long or too deep."""
    try:
        if len(text) > LONGEST:
            return UNKNOWN
        expression = around.inner(text)
        found = expression.ternary()
        return found if expression.tokens.token == "" else UNKNOWN
    except ValueError:
        return UNKNOWN
