"""Admission policies that mention `hostUsers`: what they do to it, and where. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from probe.fleet.effects import effect_of
from probe.fleet.inventory import PolicyRow
from probe.outputs.labels import shown
from probe.untyped import at, list_of, mapping, text_of

FIELD = b"hostUsers"
SHOWN = 200
_PODS = frozenset(("*", "*/*", "pods", "pods/*"))
"""Names of resources that Pods are among."""


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
        return [one for one in self.documents if name and at(one.spec, "policyName") == name]


def policy_rows(policies: Iterable[tuple[str, Document]], bindings: Mapping[str, Bindings]) -> tuple[PolicyRow, ...]:
    """Rows of *policies*, each with its kind, by kind, namespace and name. *bindings*: those of each kind."""
    rows = [_row(kind, document, bindings.get(kind, Bindings())) for kind, document in policies]
    return tuple(sorted(rows, key=lambda row: (row.kind, row.namespace, row.name)))


def _row(kind: str, document: Document, bindings: Bindings) -> PolicyRow:
    name, namespace = (text_of(at(document.metadata, key)) for key in ("name", "namespace"))
    own = bindings.of(name)
    return PolicyRow(
        kind=kind,
        name=shown(name, SHOWN),
        namespace=shown(namespace, SHOWN),
        effect=effect_of(document.spec),
        actions=_actions(document.spec, own),
        scope=tuple(shown(text, SHOWN) for text in _scopes(kind, document.spec, own, bindings.complete)),
    )


def _actions(spec: Any, bindings: list[Document]) -> tuple[str, ...]:
    found = [action for one in bindings for action in list_of(at(one.spec, "validationActions"))]
    found += list_of(at(spec, "validationActions"))
    found += [at(spec, "validationFailureAction")]
    found += [at(rule, "validate", "failureAction") for rule in list_of(at(spec, "rules"))]
    return tuple(dict.fromkeys(shown(one, SHOWN) for one in found if isinstance(one, str)))


def _scopes(kind: str, spec: Any, bindings: list[Document], complete: bool) -> Iterator[str]:
    """*complete*: whether *bindings* are all."""
    if kind.endswith("AdmissionPolicy"):
        if not complete:
            yield "bindings were not read" if not bindings else "not all bindings were read"
        elif not bindings:
            yield "no binding: it does nothing"
        for one in bindings:
            name = text_of(at(one.metadata, "name"))
            selected = _selected(at(one.spec, "matchResources"), at(spec, "matchConstraints"))
            yield f"{name}: {selected}{_conditions(spec)}"
        return
    rules = list_of(at(spec, "rules"))
    for rule in rules:
        yield text_of(at(rule, "name")) or "a rule without a name"
    if not rules:
        yield _selected(at(spec, "matchConstraints")) + _conditions(spec)


def _selected(*resources: Any) -> str:
    """What all of *resources* select, those of a binding and of its policy, in words; Pods are not mentioned."""
    words = []
    for one in resources:
        rules = list_of(at(one, "resourceRules"))
        names = [text_of(name) for rule in rules for name in list_of(at(rule, "resources"))]
        words += [f"only {', '.join(names)}"] if names and not _PODS & {*names} else []
    for what, name in (("namespaces", "namespaceSelector"), ("objects", "objectSelector")):
        selectors = [_labels(selector) for one in resources if mapping(selector := at(one, name))]
        words += [f"{what} {' and '.join(selectors)}"] if selectors else []
    return ", ".join(words if "namespaces " in " ".join(words) else ["all namespaces", *words])


def _conditions(spec: Any) -> str:
    """Names of the conditions that all have to hold."""
    names = [text_of(at(one, "name")) for one in list_of(at(spec, "matchConditions"))]
    return f", if {' and '.join(names)}" if names else ""


def _labels(selector: Any) -> str:
    words = [f"{key}={value}" for key, value in mapping(at(selector, "matchLabels")).items()]
    for one in list_of(at(selector, "matchExpressions")):
        values = ",".join(map(text_of, list_of(at(one, "values"))))
        words.append(f"{text_of(at(one, 'key'))} {text_of(at(one, 'operator'))} ({values})")
    return " and ".join(words) or "all"
