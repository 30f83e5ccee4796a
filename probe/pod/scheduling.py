"""Scheduling: node selector terms, and Pods that only nodes of another operating system or architecture take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from probe.pod.model import Node, Pod, Reason
from probe.pod.spec import Requirement, Term
from probe.pod.walk import reason

OS, ARCHITECTURE = "kubernetes.io/os", "kubernetes.io/arch"
_BETA = {f"beta.{name}": name for name in (OS, ARCHITECTURE)}
_TYPE, _VIRTUAL = "type", "virtual-kubelet"
"""Label that Virtual Kubelet gives to its nodes."""
_RUNS: dict[str, tuple[str, ...]] = {"amd64": ("amd64", "386"), "arm64": ("arm64", "arm")}
"""Architecture of a machine -> those that its kubelet may have been built for, and which it puts into the label."""
MACHINES = {
    "x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "loongarch64": "loong64",
    "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x",
}  # fmt: skip
"""uname(2)'s machine -> Go's name, which Kubernetes uses."""


def judge_scheduling(pod: Pod, node: Node) -> Iterator[Reason]:
    """A Reason where the Pod asks for nodes that are none like this one, whatever other labels the Node has."""
    fields = {f"{pod.path}.nodeSelector": pod.spec.node_selector, f"{pod.path}.runtimeClassName": pod.class_selector}
    for field, selector in fields.items():
        for key, value in (selector or {}).items():
            if not _may_match(Requirement(key, "In", (value,)), node):
                yield _elsewhere(field, f"{key}: {value}", node)
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    if affinity and affinity.required:
        terms = affinity.required.node_selector_terms or ()
        refused = [next((one for one in _expressions(term) if not _may_match(one, node)), None) for term in terms]
        if terms and all(refused):
            words = " or ".join(sorted({_spelled(one) for one in refused if one}))
            yield _elsewhere(f"{pod.path}.affinity.nodeAffinity", words, node)


def _may_match(requirement: Requirement, node: Node) -> bool:
    """Whether a Node of this operating system and architecture may have a label that *requirement* takes."""
    key = _BETA.get(requirement.key, requirement.key)
    if key == _TYPE and node.os:
        return requirement.operator != "In" or set(requirement.values or ()) != {_VIRTUAL}
    known = {OS: (node.os,), ARCHITECTURE: _RUNS.get(node.architecture, (node.architecture,))}.get(key, ("",))
    return not all(known) or any(matches(requirement, {requirement.key: value}) for value in known)


def _elsewhere(field: str, asked: str, node: Node) -> Reason:
    what = "/".join(filter(None, (node.os, node.architecture)))
    message = f"it requires nodes with {asked}, but this one is {what}"
    message += "; Windows has no user namespaces" if "windows" in asked else ""
    way = "change it, or judge the Pod with --report of a node that it requires"
    return reason(field, "fails", "rule", "NotScheduledHere", message, way)


def _expressions(term: Term) -> Iterable[Requirement]:
    return term.match_expressions or ()


def _spelled(one: Requirement) -> str:
    return f"{one.key} {one.operator} ({', '.join(one.values or ())})"


def term_matches(term: Term, labels: dict[str, str], name: str) -> bool:
    """Whether a node with these *labels* and this *name* matches *term*; an empty one matches none."""
    expressions, fields = term.match_expressions or (), term.match_fields or ()
    if not expressions and not fields:
        return False
    return all(matches(one, labels) for one in expressions) and all(
        matches(one, {"metadata.name": name}) for one in fields
    )


def matches(requirement: Requirement, labels: dict[str, str]) -> bool:
    """Whether *labels* match *requirement*; an operator that is not known matches none."""
    value, values = labels.get(requirement.key), requirement.values or ()
    match requirement.operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return _compares(requirement.operator, value, values)
    return False


def _compares(operator: str, value: str | None, values: tuple[str, ...]) -> bool:
    try:
        found, limit = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return found > limit if operator == "Gt" else found < limit
