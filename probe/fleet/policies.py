"""Admission policies that mention `hostUsers`: what they do to it, and where. Pure.

Expressions are compared, not evaluated: one that is none of the known forms is `unclear`, and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from probe.fleet.inventory import Effect, PolicyRow
from probe.outputs.annotations import LABEL
from probe.outputs.labels import shown

FIELD = b"hostUsers"
SHOWN = 200
_LONGEST = 4000
"""Characters of an expression that are compared."""
_SPEC = r"object\.(?:spec\.template\.)?spec"
_REQUIRES = (
    rf"{_SPEC}\.hostUsers==false",
    rf"has\({_SPEC}\.hostUsers\)&&!{_SPEC}\.hostUsers",
    rf"has\({_SPEC}\.hostUsers\)&&{_SPEC}\.hostUsers==false",
    rf"{_SPEC}\.\?hostUsers\.orValue\(true\)==false",
    rf"!{_SPEC}\.\?hostUsers\.orValue\(true\)",
)
_FORBIDS = (
    rf"!has\({_SPEC}\.hostUsers\)",
    rf"!has\({_SPEC}\.hostUsers\)\|\|{_SPEC}\.hostUsers",
    rf"!has\({_SPEC}\.hostUsers\)\|\|{_SPEC}\.hostUsers==true",
    rf"{_SPEC}\.\?hostUsers\.orValue\(true\)",
    rf"{_SPEC}\.\?hostUsers\.orValue\(true\)==true",
)
_SETS_FALSE = re.compile(r"hostUsers[\"']?(?::|,value:)false|path:[\"']/spec/hostUsers[\"'],value:false")
_SETS_TRUE = re.compile(r"hostUsers[\"']?(?::|,value:)true|path:[\"']/spec/hostUsers[\"'],value:true")


class Document(Struct):
    """A policy or binding, of any shape."""

    kind: Any = ""
    metadata: Any = None
    spec: Any = None


class Bindings(Struct):
    """The bindings of one kind of policy."""

    documents: list[Document] = []
    complete: bool = False
    """Whether all of them were read."""

    def of(self, name: str) -> list[Document]:
        """Those of the policy *name*."""
        return [one for one in self.documents if name and _at(one.spec, "policyName") == name]


def policy_rows(policies: Iterable[tuple[str, Document]], bindings: Mapping[str, Bindings]) -> tuple[PolicyRow, ...]:
    """Rows of *policies*, each with its kind, by kind, namespace and name. *bindings*: those of each kind."""
    rows = [_row(kind, document, bindings.get(kind, Bindings())) for kind, document in policies]
    return tuple(sorted(rows, key=lambda row: (row.kind, row.namespace, row.name)))


def _row(kind: str, document: Document, bindings: Bindings) -> PolicyRow:
    name, namespace = (_text(_at(document.metadata, key)) for key in ("name", "namespace"))
    own = bindings.of(name)
    return PolicyRow(
        kind=kind,
        name=shown(name, SHOWN),
        namespace=shown(namespace, SHOWN),
        effect=_effect(document.spec),
        actions=_actions(document.spec, own),
        scope=tuple(shown(text, SHOWN) for text in _scopes(kind, document.spec, own, bindings.complete)),
    )


def _effect(spec: Any) -> Effect:
    """Effect on which all parts of the policy that mention the field agree."""
    found = set(_effects(spec))
    return found.pop() if len(found) == 1 else "unclear"


def _effects(spec: Any) -> Iterator[Effect]:
    for validation in _list(_at(spec, "validations")):
        yield from _of_part(_text(_at(validation, "expression")), _of_expression)
    for mutation in _list(_at(spec, "mutations")):
        for how in ("jsonPatch", "applyConfiguration"):
            yield from _of_part(_text(_at(mutation, how, "expression")), _of_mutation)
    for rule in _list(_at(spec, "rules")):
        yield from _of_rule(rule)
    for name in ("variables", "matchConditions"):
        for one in _list(_at(spec, name)):
            text = _text(_at(one, "expression"))
            if "hostUsers" in text and _of_expression(text) != "require":  # else it selects the Pods that ask
                yield "unclear"


def _of_part(text: str, of: Callable[[str], Effect]) -> Iterator[Effect]:
    if LABEL in text:
        yield "confine"
    elif "hostUsers" in text:
        yield of(text)


def _of_expression(text: str) -> Effect:
    plain = re.sub(r"\s+", "", text[:_LONGEST])
    if any(re.fullmatch(form, plain) for form in _REQUIRES):
        return "require"
    return "forbid" if any(re.fullmatch(form, plain) for form in _FORBIDS) else "unclear"


def _of_mutation(text: str) -> Effect:
    plain = re.sub(r"\s+", "", text[:_LONGEST])
    sets_false, sets_true = _SETS_FALSE.search(plain), _SETS_TRUE.search(plain)
    if sets_false and not sets_true:
        return "default"
    return "forbid" if sets_true and not sets_false else "unclear"


def _of_rule(rule: Any) -> Iterator[Effect]:
    """Of a rule of a ClusterPolicy or Policy of kyverno.io/v1: patterns and strategic merge patches."""
    for found in _values(_at(rule, "validate", "pattern")):
        yield "require" if found is False else "forbid" if found is True else "unclear"
    for found in _values(_at(rule, "mutate", "patchStrategicMerge")):
        yield "default" if found is False else "forbid" if found is True else "unclear"
    known = {"validate": ("pattern",), "mutate": ("patchStrategicMerge",)}
    for part, names in known.items():
        rest = {key: value for key, value in _mapping(_at(rule, part)).items() if key not in names and key != "message"}
        if "hostUsers" in str(rest):
            yield "unclear"
    if "hostUsers" in str([_at(rule, name) for name in ("preconditions", "context", "generate")]):
        yield "unclear"


def _values(pattern: Any, depth: int = 0) -> Iterator[Any]:
    """Values of the keys `hostUsers` and `+(hostUsers)` in *pattern*; None for any other anchor, such as `=()`."""
    if depth > 20:
        return
    if isinstance(pattern, dict):
        for key, value in pattern.items():
            if isinstance(key, str) and re.fullmatch(r"hostUsers|\+\(hostUsers\)", key):
                yield value
            elif isinstance(key, str) and "hostUsers" in key:
                yield None
            else:
                yield from _values(value, depth + 1)
    elif isinstance(pattern, list):
        for one in pattern:
            yield from _values(one, depth + 1)


def _actions(spec: Any, bindings: list[Document]) -> tuple[str, ...]:
    found = [action for one in bindings for action in _list(_at(one.spec, "validationActions"))]
    found += _list(_at(spec, "validationActions"))
    found += [_at(spec, "validationFailureAction")]
    found += [_at(rule, "validate", "failureAction") for rule in _list(_at(spec, "rules"))]
    return tuple(dict.fromkeys(shown(one, SHOWN) for one in found if isinstance(one, str)))


def _scopes(kind: str, spec: Any, bindings: list[Document], complete: bool) -> Iterator[str]:
    """*complete*: whether *bindings* are all."""
    if kind.endswith("AdmissionPolicy"):
        if not complete:
            yield "bindings were not read" if not bindings else "not all bindings were read"
        elif not bindings:
            yield "no binding: it does nothing"
        for one in bindings:
            name = _text(_at(one.metadata, "name"))
            yield f"{name}: {_selected(_at(one.spec, 'matchResources'), _at(spec, 'matchConstraints'))}"
        return
    rules = _list(_at(spec, "rules"))
    for rule in rules:
        yield _text(_at(rule, "name")) or "a rule without a name"
    if not rules:
        yield _selected(_at(spec, "matchConstraints"))


def _selected(*resources: Any) -> str:
    """Namespaces and objects that all of *resources* select, those of a binding and of its policy, in words."""
    words = []
    for what, name in (("namespaces", "namespaceSelector"), ("objects", "objectSelector")):
        selectors = [_labels(selector) for one in resources if _mapping(selector := _at(one, name))]
        words += [f"{what} {' and '.join(selectors)}"] if selectors else []
    return ", ".join(words) or "all namespaces"


def _labels(selector: Any) -> str:
    words = [f"{key}={value}" for key, value in _mapping(_at(selector, "matchLabels")).items()]
    for one in _list(_at(selector, "matchExpressions")):
        values = ",".join(map(_text, _list(_at(one, "values"))))
        words.append(f"{_text(_at(one, 'key'))} {_text(_at(one, 'operator'))} ({values})")
    return " and ".join(words) or "all"


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = _mapping(value).get(name)
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
