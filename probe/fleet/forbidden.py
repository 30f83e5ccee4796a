"""Policies in force that keep `hostUsers: false` out of a namespace. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from probe.fleet.policies import Bindings, Document, actions_of, effect_of, scopes_of
from probe.fleet.rows import Breaks
from probe.outputs.labels import shown
from probe.pod.scheduling import matches
from probe.pod.spec import Requirement
from probe.untyped import at, list_of, mapping, text_of

NAME = "kubernetes.io/metadata.name"
"""Label that the API server gives to each namespace."""
SHOWN = 300


class Forbid(Struct, frozen=True):
    """A policy that refuses `hostUsers: false`, or takes it out, with one of its bindings."""

    what: str
    scope: str
    namespace: str
    """Of a namespaced policy."""
    selectors: tuple[Any, ...]
    """Namespace selectors, all of which hold."""
    narrowed: bool
    """Whether it spares some Pods in the namespaces that it selects."""


def forbids(policies: Iterable[tuple[str, Document]], bindings: Mapping[str, Bindings]) -> Iterator[Forbid]:
    """Those of *policies* that deny, not only audit or warn. *bindings*: those of each kind."""
    for kind, document in policies:
        if effect_of(document.spec) == "forbid":
            yield from _of_policy(kind, document, bindings.get(kind, Bindings()))


def forbidden(
    found: Iterable[Forbid], namespace: str, labels: Mapping[str, str] | None
) -> Iterator[tuple[Breaks, bool]]:
    """(What forbids it in *namespace*, whether for sure). *labels*: of the namespace; None: not read."""
    for one in found:
        if one.namespace not in ("", namespace):
            continue
        answers = [
            _selects(selector, {NAME: namespace, **labels}) if labels is not None else None
            for selector in one.selectors
        ]
        if False not in answers:
            sure = not one.narrowed and None not in answers
            yield Breaks(what=one.what, reason="PolicyForbids", message=one.scope), sure


def _of_policy(kind: str, document: Document, bindings: Bindings) -> Iterator[Forbid]:
    name, namespace = (text_of(at(document.metadata, key)) for key in ("name", "namespace"))
    spec = document.spec
    what = shown(f"{kind} {name}", SHOWN)
    if not kind.endswith("AdmissionPolicy"):
        if _denies(actions_of(spec, [])):
            scope = list(scopes_of(kind, namespace, spec, [], True))
            narrowed = not any(_is_whole(words, namespace) for words in scope) and not _only_namespaces(spec)
            yield Forbid(
                what, shown("; ".join(scope), SHOWN), namespace, _selectors(at(spec, "matchConstraints")), narrowed
            )
        return
    if not bindings.complete:
        yield Forbid(what, "not all bindings were read", "", (), True)
    for one in bindings.of(name):
        if kind.startswith("Mutating") or "Deny" in list_of(at(one.spec, "validationActions")):
            places = at(one.spec, "matchResources"), at(spec, "matchConstraints")
            scope = list(scopes_of(kind, "", spec, [one], True))
            narrowed = _is_narrowed(spec) or any(map(_spares, places))
            yield Forbid(what, shown("; ".join(scope), SHOWN), "", _selectors(*places), narrowed)


def _denies(actions: tuple[str, ...]) -> bool:
    return not actions or any(action.lower() in ("deny", "enforce") for action in actions)


def _is_whole(scope: str, namespace: str) -> bool:
    """Whether the words of a rule's scope narrow it by nothing but the *namespace* of the policy itself."""
    inside = f" in namespace {namespace}" if namespace else ""
    return scope.rpartition(": ")[2] == f"Pod{inside}"


def _only_namespaces(spec: Any) -> bool:
    """Whether a policy without rules is narrowed by namespaces at most."""
    return not list_of(at(spec, "rules")) and not _is_narrowed(spec) and not _spares(at(spec, "matchConstraints"))


def _is_narrowed(spec: Any) -> bool:
    others = [one for one in list_of(at(spec, "matchConditions")) if "hostUsers" not in str(at(one, "expression"))]
    return bool(others) or bool(text_of(at(spec, "paramKind", "kind")))


def _spares(resources: Any) -> bool:
    """Whether it selects some Pods of a namespace only."""
    rules = list_of(at(resources, "resourceRules"))
    named = any(list_of(at(rule, "resourceNames")) for rule in rules)
    return named or bool(mapping(at(resources, "objectSelector")) or list_of(at(resources, "excludeResourceRules")))


def _selectors(*resources: Any) -> tuple[Any, ...]:
    return tuple(selector for one in resources if mapping(selector := at(one, "namespaceSelector")))


def _selects(selector: Any, labels: Mapping[str, str]) -> bool | None:
    """Whether *labels* match a label selector; None for one of another shape."""
    wanted = mapping(at(selector, "matchLabels"))
    expressions = list_of(at(selector, "matchExpressions"))
    asked = [Requirement(key, "In", (text_of(value),)) for key, value in wanted.items()]
    asked += [
        Requirement(
            text_of(at(one, "key")), text_of(at(one, "operator")), tuple(map(text_of, list_of(at(one, "values"))))
        )
        for one in expressions
    ]
    if any(one.operator not in ("In", "NotIn", "Exists", "DoesNotExist") for one in asked):
        return None
    return all(matches(one, dict(labels)) for one in asked)
