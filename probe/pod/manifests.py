"""Objects of Kubernetes that make Pods, from manifests or from what `kubectl get -o yaml` printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from probe.pod.documents import Document
from probe.pod.model import Pod, Reason
from probe.pod.objects import Context, claim_templates, text_of
from probe.pod.spec import ClaimSpec, PodSpec
from probe.pod.walk import reason

TEMPLATES: dict[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"),
        ("spec", "template"),
    ),
}
"""Kind -> where in it metadata and spec of a Pod are."""
_GROUPS = frozenset((
    "", "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apps",
    "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch", "certificates.k8s.io",
    "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "flowcontrol.apiserver.k8s.io", "networking.k8s.io",
    "node.k8s.io", "policy", "rbac.authorization.k8s.io", "resource.k8s.io",
    "scheduling.k8s.io", "storage.k8s.io", "storagemigration.k8s.io",
))  # fmt: skip
"""API groups of Kubernetes itself, whose other kinds make no Pods."""
_NO_PODS = frozenset((
    "acme.cert-manager.io", "cert-manager.io", "external-secrets.io", "gateway.networking.k8s.io", "kyverno.io",
    "networking.istio.io", "policies.kyverno.io", "security.istio.io", "snapshot.storage.k8s.io", "traefik.io",
))  # fmt: skip
"""Other API groups of which no kind makes Pods."""
_NO_PODS_KINDS = {
    "keda.sh": frozenset(("ClusterTriggerAuthentication", "ScaledObject", "TriggerAuthentication")),
    "monitoring.coreos.com": frozenset((
        "AlertmanagerConfig", "PodMonitor", "Probe", "PrometheusRule", "ScrapeConfig", "ServiceMonitor",
    )),
}  # fmt: skip
"""Kinds that make none, of groups with others that do; charts are full of them."""


_CDI = "cdi.k8s.io/"


class Workload(Struct, frozen=True, kw_only=True):
    """An object that makes Pods."""

    kind: str
    name: str
    namespace: str = ""
    file: str
    document: int
    pod: Pod | None = None
    problem: Reason | None = None
    """Reason why there is no Pod to judge."""


class Found(Struct, kw_only=True):
    """All that a set of manifests has."""

    workloads: list[Workload]
    problems: list[str]
    """A line for each document that is not an object."""


class _Draft(Struct, frozen=True, kw_only=True):
    """A workload before the objects are known that its Pod names."""

    workload: Workload
    spec: PodSpec | None = None
    path: str = ""
    uid: str = ""
    devices: dict[str, str] = {}
    templates: dict[str, ClaimSpec | None] = {}
    complete: bool = True


def find_workloads(files: Iterable[tuple[str, Iterable[Document]]], assume: bool = False) -> Found:
    """Workloads of all documents of *files*, with what other objects among them tell of their volumes."""
    problems: list[str] = []
    context = Context()
    drafts: list[_Draft] = []
    for file, documents in files:
        for document in documents:
            where = f"{file}, document {document.number}"
            if document.problem:
                problems.append(f"{where}: {document.problem}")
                continue
            for value in _items(document.value):
                if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
                    problems.append(f"{where}: is not an object of Kubernetes: it has no kind")
                elif not context.take(value) and (draft := _draft(value, file, document.number)):
                    drafts.append(draft)
    return Found(workloads=[_workload(draft, context, assume) for draft in drafts], problems=problems)


def _items(value: Any) -> Iterator[Any]:
    """The items of a List of any kind, also of one within another; an object as it is."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        kind, items = (one.get("kind"), one.get("items")) if isinstance(one, dict) else (None, None)
        if isinstance(one, list):
            waiting += reversed(one)
        elif isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
            own = kind.removesuffix("List")  # the items of a PodList may have no kind of their own
            waiting += ({"kind": own, **item} if own and isinstance(item, dict) else item for item in reversed(items))
        else:
            yield one


def _draft(value: Mapping[str, Any], file: str, document: int) -> _Draft | None:
    """None for an object that makes no Pods."""
    kind: str = value["kind"]
    group = _group(value)
    keys = TEMPLATES.get(kind) if group in _GROUPS else None
    if group in _NO_PODS or kind in _NO_PODS_KINDS.get(group, ()) or (group in _GROUPS and keys is None):
        return None
    named = Workload(
        kind=kind,
        name=text_of(value, "metadata", "name") or text_of(value, "metadata", "generateName"),
        namespace=text_of(value, "metadata", "namespace"),
        file=file,
        document=document,
    )
    if keys is None and not _looks_like_a_template(value):
        message = f"unknown whether a {kind} ({group}) makes Pods, and which"
        return _Draft(workload=_unknown(named, "kind", "KindNotKnown", message, "give the Pods that it makes"))
    keys = ("spec", "template") if keys is None else keys
    path = ".".join((*keys, "spec"))
    try:
        return _with_spec(named, value, keys, path)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at `$")
        way = "kubectl apply --dry-run=server says more"
        return _Draft(workload=_unknown(named, path + at.rstrip("`"), "WrongType", message, way))


def _group(value: Mapping[str, Any]) -> str:
    return text_of(value, "apiVersion").rpartition("/")[0]


def _with_spec(named: Workload, value: Mapping[str, Any], keys: tuple[str, ...], path: str) -> _Draft:
    """*Errors*: msgspec.ValidationError, with a path that starts at the spec."""
    template: Any = value
    for key in keys:
        template = template.get(key) if isinstance(template, dict) else None
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        raise msgspec.ValidationError("has no spec of a Pod")
    metadata = template.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    native = _group(value) in _GROUPS
    templates = claim_templates(value) if named.kind == "StatefulSet" or not native else {}
    return _Draft(
        workload=named,
        spec=msgspec.convert(_with_defaults(template["spec"]), PodSpec),
        path=path,
        uid=text_of(value, "metadata", "uid") if named.kind == "Pod" else "",
        devices=_annotated(annotations),
        templates=templates,
        complete=native and "" not in templates,
    )


def _with_defaults(spec: dict[str, Any]) -> dict[str, Any]:
    """*spec* with an emptyDir for each volume of no type, also one whose type is null. *Source*: SetDefaults_Volume."""
    volumes = spec.get("volumes")
    if not isinstance(volumes, list):
        return spec
    return {**spec, "volumes": [{**one, "emptyDir": {}} if _has_no_type(one) else one for one in volumes]}


def _has_no_type(volume: Any) -> bool:
    return isinstance(volume, dict) and all(key == "name" or value is None for key, value in volume.items())


def _annotated(annotations: Any) -> dict[str, str]:
    """Annotations that name CDI devices."""
    found = annotations.items() if isinstance(annotations, dict) else ()
    return {key: value if isinstance(value, str) else "" for key, value in found if key.startswith(_CDI)}


def _workload(draft: _Draft, context: Context, assume: bool) -> Workload:
    """The workload with its Pod."""
    spec, workload = draft.spec, draft.workload
    if spec is None:
        return workload
    runtime = context.runtime(spec.runtime_class_name or "")
    pod = Pod(
        spec=spec,
        path=draft.path,
        name=workload.name if workload.kind == "Pod" else "",
        uid=draft.uid,
        assume=assume,
        handler=runtime.handler if runtime else None,
        class_selector=runtime.selector if runtime else None,
        token=context.token(workload.namespace, spec.service_account_name or "default"),
        devices=draft.devices,
        claims=context.claims_of(workload.namespace),
        classes=context.classes(),
        templates={name: context.claim(claim) if claim else None for name, claim in draft.templates.items()},
        complete=draft.complete,
    )
    return msgspec.structs.replace(workload, pod=pod)


def _unknown(named: Workload, field: str, word: str, message: str, remediation: str) -> Workload:
    problem = reason(field, "unknown", "unknown", word, message, remediation)
    return msgspec.structs.replace(named, problem=problem)


def _looks_like_a_template(value: Mapping[str, Any]) -> bool:
    """True for a resource of another API that has a Pod's template where Deployments have theirs."""
    inner: Any = value
    for key in ("spec", "template", "spec", "containers"):
        inner = inner.get(key) if isinstance(inner, dict) else None
    return isinstance(inner, list)
