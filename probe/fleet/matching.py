"""What an admission policy matches: whether a new Pod is among it, and in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from probe.untyped import at, list_of, mapping, text_of

_PODS = frozenset(("*", "*/*", "pods"))
"""Names of resources that Pods are among; `pods/*` are their subresources alone."""
_CREATED = frozenset(("*", "CREATE"))
_WORKLOADS = frozenset((
    "Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "*",
))  # fmt: skip


def applies_to_new_pods(spec: Any) -> bool:
    """False for a policy that sees neither new Pods nor new objects with a template, or nothing at all at admission."""
    if at(spec, "admission") is False or at(spec, "evaluation", "admission", "enabled") is False:
        return False
    if at(spec, "evaluation", "mode") == "JSON":
        return False
    constraints = at(spec, "matchConstraints")
    rules = list_of(at(constraints, "resourceRules"))
    if rules and not any(
        _creates(rule) and any("/" not in name or name == "*/*" for name in _names(rule)) for rule in rules
    ):
        return False
    return not any(_excludes_new_pods(rule) for rule in list_of(at(constraints, "excludeResourceRules")))


def looks_at_pods(spec: Any) -> bool:
    """True for a policy that sees Pods themselves, not only objects with their template."""
    rules = list_of(at(spec, "matchConstraints", "resourceRules"))
    return not rules or any(map(_has_pods, rules))


def rule_applies_to_new_pods(rule: Any) -> bool:
    """The same of a rule of Kyverno, by its kinds and operations."""
    blocks = list(_blocks(at(rule, "match")))
    return not blocks or any(_block_creates(block) for block in blocks)


def _block_creates(block: Any) -> bool:
    kinds = {text_of(kind).rpartition("/")[2] for kind in list_of(at(block, "kinds"))}
    operations = {*map(text_of, list_of(at(block, "operations")))}
    return (not kinds or bool(kinds & _WORKLOADS)) and (not operations or "CREATE" in operations)


def selected(*resources: Any, namespace: str = "") -> str:
    """What all of *resources* select, those of a binding and of its policy, in words; Pods are not mentioned."""
    words = []
    for one in resources:
        rules = list_of(at(one, "resourceRules"))
        if rules and not any(map(_has_pods, rules)):
            words.append(f"only {', '.join(name for rule in rules for name in _names(rule))}")
        if rules and not any(map(_creates, rules)):
            words.append(f"only on {', '.join(_operations(rules))}")
        named = [text_of(name) for rule in rules for name in list_of(at(rule, "resourceNames"))]
        words += [f"only named {', '.join(named)}"] if named else []
        words += map(_excepted, list_of(at(one, "excludeResourceRules")))
    places = []
    for what, name in (("namespaces", "namespaceSelector"), ("objects", "objectSelector")):
        selectors = [labels(selector) for one in resources if mapping(selector := at(one, name))]
        found = [f"{what} {' and '.join(selectors)}"] if selectors else []
        words += found
        places += found if what == "namespaces" else []
    where = [f"namespace {namespace}"] if namespace else [] if places else ["all namespaces"]
    return ", ".join([*where, *words])


def labels(selector: Any) -> str:
    """A label selector in words."""
    words = [f"{key}={value}" for key, value in mapping(at(selector, "matchLabels")).items()]
    for one in list_of(at(selector, "matchExpressions")):
        values = ",".join(map(text_of, list_of(at(one, "values"))))
        words.append(f"{text_of(at(one, 'key'))} {text_of(at(one, 'operator'))} ({values})")
    return " and ".join(words) or "all"


def matched(rule: Any) -> str:
    """What a rule of Kyverno matches, in words."""
    taken = " or ".join(map(_block, _blocks(at(rule, "match")))) or "all"
    left = " or ".join(map(_block, _blocks(at(rule, "exclude"))))
    return f"{taken}{left and ' except '}{left}"


def _blocks(match: Any) -> Iterator[Any]:
    """Each block of resources of a `match` or `exclude`; who asks (`subjects`, `roles`) is part of it."""
    found = [*list_of(at(match, "any")), *list_of(at(match, "all"))] or ([match] if mapping(match) else [])
    for one in found:
        who = {key: value for key, value in mapping(one).items() if key in ("subjects", "roles", "clusterRoles")}
        yield {**mapping(at(one, "resources")), **who}


def _block(block: Any) -> str:
    words = [", ".join(map(text_of, list_of(at(block, "kinds")))) or "all kinds"]
    names = [text_of(name) for name in (*list_of(at(block, "names")), at(block, "name"))]
    for what, found in (
        ("in", list_of(at(block, "namespaces"))), ("named", list(filter(None, names))),
        ("on", list_of(at(block, "operations"))),
    ):  # fmt: skip
        words += [f"{what} {', '.join(map(text_of, found))}"] if found else []
    for what, name in (("in namespaces", "namespaceSelector"), ("with", "selector")):
        words += [f"{what} {labels(at(block, name))}"] if mapping(at(block, name)) else []
    words += ["with annotations"] if mapping(at(block, "annotations")) else []
    words += ["of some users"] if any(at(block, name) for name in ("subjects", "roles", "clusterRoles")) else []
    return " ".join(words)


def _creates(rule: Any) -> bool:
    return bool(_CREATED & ({*_operations([rule])} or _CREATED))


def _operations(rules: list[Any]) -> list[str]:
    return list(dict.fromkeys(text_of(one) for rule in rules for one in list_of(at(rule, "operations"))))


def _has_pods(rule: Any) -> bool:
    groups = at(rule, "apiGroups")
    return bool(_PODS & {*_names(rule)}) and (not isinstance(groups, list) or bool({"", "*"} & {*map(text_of, groups)}))


def _excludes_new_pods(rule: Any) -> bool:
    return _has_pods(rule) and _creates(rule) and not list_of(at(rule, "resourceNames"))


def _excepted(rule: Any) -> str:
    names = list_of(at(rule, "resourceNames"))
    return f"except {', '.join(map(text_of, names or _names(rule)))}"


def _names(rule: Any) -> list[str]:
    return [text_of(name) for name in list_of(at(rule, "resources"))]
