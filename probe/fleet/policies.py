"""Admission policies that mention `hostUsers`: what they do to it, and where. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from probe.fleet.cel_effects import effects_of_spec
from probe.fleet.kyverno import effects_of_rules
from probe.fleet.matching import applies_to_new_pods, labels, matched, selected
from probe.fleet.rows import Effect, PolicyRow
from probe.outputs.labels import shown
from probe.untyped import at, list_of, mapping, text_of

FIELD = b"hostUsers"
SHOWN = 200


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
        actions=actions_of(document.spec, own),
        scope=tuple(shown(text, SHOWN) for text in scopes_of(kind, namespace, document.spec, own, bindings.complete)),
    )


def effect_of(spec: Any) -> Effect:
    """Effect on which all parts of the policy that mention the field agree; `unclear` where it sees no new Pod."""
    if not applies_to_new_pods(spec):
        return "unclear"
    found = {*effects_of_spec(spec), *effects_of_rules(spec)}
    return found.pop() if len(found) == 1 else "unclear"


def actions_of(spec: Any, bindings: list[Document]) -> tuple[str, ...]:
    """`Deny`, `Warn`, `Audit`, or what Kyverno calls it."""
    found = [action for one in bindings for action in list_of(at(one.spec, "validationActions"))]
    found += list_of(at(spec, "validationActions"))
    rules = [rule for rule in list_of(at(spec, "rules")) if at(rule, "validate") is not None]
    general = at(spec, "validationFailureAction") or "Audit"
    found += [at(rule, "validate", "failureAction") or general for rule in rules]
    found += [at(one, "action") for one in _overrides(spec)]
    return tuple(dict.fromkeys(shown(one, SHOWN) for one in found if isinstance(one, str)))


def _overrides(spec: Any) -> Iterator[Any]:
    yield from list_of(at(spec, "validationFailureActionOverrides"))
    for rule in list_of(at(spec, "rules")):
        yield from list_of(at(rule, "validate", "failureActionOverrides"))


def scopes_of(kind: str, namespace: str, spec: Any, bindings: list[Document], complete: bool) -> Iterator[str]:
    """Where the policy holds, in words, by binding or rule. *complete*: whether *bindings* are all."""
    if kind.endswith("AdmissionPolicy"):
        if not complete:
            yield "bindings were not read" if not bindings else "not all bindings were read"
        elif not bindings:
            yield "no binding: it does nothing"
        for one in bindings:
            chosen = selected(at(one.spec, "matchResources"), at(spec, "matchConstraints"))
            words = f"{chosen}{_conditions(spec)}{_parameters(spec, one.spec)}{_only(one)}"
            yield f"{text_of(at(one.metadata, 'name'))}: {words}"
        return
    if at(spec, "admission") is False or at(spec, "evaluation", "admission", "enabled") is False:
        yield "not at admission: it only reports"
    rules = list_of(at(spec, "rules"))
    inside = f" in namespace {namespace}" if namespace else ""
    for rule in rules:
        some = ", under preconditions" if at(rule, "preconditions") or at(rule, "celPreconditions") else ""
        yield f"{text_of(at(rule, 'name')) or 'a rule without a name'}: {matched(rule)}{inside}{some}"
    for one in _overrides(spec):
        names = ", ".join(map(text_of, list_of(at(one, "namespaces"))))
        yield f"{text_of(at(one, 'action'))} in {names or 'some namespaces'}"
    if not rules:
        yield selected(at(spec, "matchConstraints"), namespace=namespace) + _conditions(spec)


def _conditions(spec: Any) -> str:
    """Names of the conditions that all have to hold."""
    names = [text_of(at(one, "name")) for one in list_of(at(spec, "matchConditions"))]
    return f", if {' and '.join(names)}" if names else ""


def _parameters(spec: Any, binding: Any) -> str:
    """The object whose fields the expressions read as `params`."""
    kind, reference = text_of(at(spec, "paramKind", "kind")), at(binding, "paramRef")
    if not kind:
        return ""
    if not mapping(reference):
        return f", without a {kind} as its parameters"
    name = text_of(at(reference, "name")) or labels(at(reference, "selector"))
    missing = ", and not without it" if at(reference, "parameterNotFoundAction") == "Allow" else ""
    return f", with the parameters of {kind} {name}{missing}"


def _only(binding: Document) -> str:
    """The actions of a binding that denies nothing."""
    actions = [text_of(one) for one in list_of(at(binding.spec, "validationActions"))]
    return f" ({' and '.join(actions)} only)" if actions and "Deny" not in actions else ""
