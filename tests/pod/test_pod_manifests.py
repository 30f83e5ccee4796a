"""From manifests to Pods: every kind that makes some, what other objects tell of them, and what is malformed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from probe.pod.documents import parse_documents
from probe.pod.manifests import TEMPLATES, Found, find_workloads
from probe.pod.model import Claim, Pod

SPEC: dict[str, Any] = {"hostUsers": False, "containers": [{"name": "c", "image": "i"}]}


def found(*objects: Any, assume: bool = False) -> Found:
    content = "\n---\n".join(json.dumps(one) for one in objects).encode()
    return find_workloads([("f", parse_documents(content))], assume)


def made(kind: str, spec: dict[str, Any], api: str = "v1", **metadata: Any) -> dict[str, Any]:
    """An object of that kind, with the spec of a Pod where the kind has it."""
    value: dict[str, Any] = {"spec": spec}
    for key in reversed(TEMPLATES.get(kind, ("spec", "template"))):
        value = {key: value}
    return {"apiVersion": api, "kind": kind, **value, "metadata": {"name": "n", "namespace": "s", **metadata}}


def only(*objects: Any) -> Pod:
    (workload,) = found(*objects).workloads
    assert workload.pod is not None, workload.problem
    return workload.pod


@pytest.mark.parametrize("kind", TEMPLATES)
def test_each_kind(kind: str) -> None:
    """The Pod of each kind is found, with the path of its spec."""
    (workload,) = found(made(kind, SPEC)).workloads
    assert (workload.kind, workload.name, workload.namespace) == (kind, "n", "s")
    assert workload.pod is not None
    assert workload.pod.path == ".".join((*TEMPLATES[kind], "spec"))
    assert workload.pod.spec.host_users is False


def test_lists() -> None:
    """A List of anything, and a PodList, whose items have no kind of their own."""
    pod = made("Pod", SPEC)
    bare = {key: value for key, value in pod.items() if key not in ("kind", "apiVersion")}
    objects = ({"kind": "List", "items": [pod, made("Job", SPEC, "batch/v1")]}, {"kind": "PodList", "items": [bare]})
    assert [one.kind for one in found(*objects).workloads] == ["Pod", "Job", "Pod"]
    assert [one.kind for one in found([{"kind": "List", "items": [*objects, pod]}]).workloads] == [
        "Pod",
        "Job",
        "Pod",
        "Pod",
    ]


def test_what_makes_no_pods() -> None:
    """Other kinds of Kubernetes are passed over in silence."""
    objects = [
        {"apiVersion": "v1", "kind": "Service"},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"},
        {"apiVersion": "cert-manager.io/v1", "kind": "Certificate"},
        {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor"},
    ]
    assert found(*objects) == Found(workloads=[], problems=[])
    assert len(found({"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus"}).workloads) == 1


def test_kinds_of_others() -> None:
    """What has a Pod's template where Deployments have theirs is judged; of all else nobody knows."""
    rollout = made("Rollout", SPEC, "argoproj.io/v1alpha1")
    job = {"apiVersion": "batch.volcano.sh/v1", "kind": "Job", "metadata": {"name": "v"}, "spec": {"tasks": []}}
    first, second = found(rollout, job).workloads
    assert first.pod is not None
    assert first.pod.path == "spec.template.spec"
    assert second.pod is None
    assert second.problem is not None
    assert (second.problem.outcome, second.problem.reason) == ("unknown", "KindNotKnown")


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"hostUsers": "false"}, "spec.template.spec.hostUsers"),
        ({"containers": [{}, {"securityContext": {"runAsUser": "0"}}]}, "containers[1].securityContext.runAsUser"),
        ({"volumes": [{"name": 1}]}, "volumes[0].name"),
        ({"volumes": {"name": "v"}}, "volumes"),
        ({"containers": [[]]}, "containers[0]"),
    ],
)
def test_fields_of_wrong_type(spec: dict[str, Any], path: str) -> None:
    """The row names the field, is unknown, and costs no other row."""
    bad, good = found(made("Deployment", spec, "apps/v1"), made("Pod", SPEC)).workloads
    assert bad.problem is not None
    assert (bad.problem.outcome, bad.problem.reason) == ("unknown", "WrongType")
    assert bad.problem.field.endswith(path)
    assert good.pod is not None


@pytest.mark.parametrize("value", [7, "text", [1, 2], {"spec": {}}, {"kind": 7}, {"kind": None}])
def test_what_is_no_object(value: Any) -> None:
    """A line that says where it is."""
    bad = found(value, made("Pod", SPEC))
    assert len(bad.workloads) == 1
    assert bad.problems
    assert all(problem.startswith("f, document ") for problem in bad.problems)


@pytest.mark.parametrize("spec", [None, 7, [], {}])
def test_a_template_without_a_spec(spec: Any) -> None:
    (workload,) = found({"kind": "Pod", "metadata": spec, "spec": None}).workloads
    assert workload.problem is not None


def claim(**spec: Any) -> dict[str, Any]:
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "s"}, "spec": spec}


STORAGE_CLASS = {
    "kind": "StorageClass",
    "metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "ebs.csi.aws.com",
    "parameters": {"csi.storage.k8s.io/fstype": "xfs"},
}


def test_claims() -> None:
    """A claim is followed to its volume and its class, in whatever order they come."""
    volume = {"kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": {"nfs": {"server": "n", "path": "/"}}}
    pod = only(made("Pod", SPEC), claim(volumeName="pv", storageClassName=""), volume)
    assert pod.claims["c"].volume is not None
    assert pod.claims["c"].volume.nfs is not None
    pod = only(claim(accessModes=["ReadWriteMany"]), made("Pod", SPEC), STORAGE_CLASS)
    assert pod.claims == {"c": Claim(shared=True, provisioner="ebs.csi.aws.com", fstype="xfs")}
    assert only(made("Pod", SPEC, namespace="other"), claim()).claims == {}


@pytest.mark.parametrize("namespace", ["s", ""])
def test_a_volume_that_names_its_claim(namespace: str) -> None:
    """It is bound to no other, whatever the StorageClass of both would make; that of another namespace is not meant."""
    asking = claim(storageClassName="fast")
    asking["metadata"]["namespace"] = namespace
    reserved = {"storageClassName": "fast", "nfs": {}, "claimRef": {"name": "c", "namespace": "s"}}
    volume = {"kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": reserved}
    pod = only(asking, made("Pod", SPEC, namespace=namespace), volume, STORAGE_CLASS)
    assert (pod.claims["c"].volume_name, bool(pod.claims["c"].volume)) == ("pv", True)
    other = {**volume, "spec": {**reserved, "claimRef": {"name": "c", "namespace": "t"}}}
    assert only(claim(), made("Pod", SPEC), other, STORAGE_CLASS).claims["c"].volume is None


def test_templates_of_claims() -> None:
    """Those of a StatefulSet, and those of ephemeral volumes."""
    spec = SPEC | {"volumes": [{"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}
    stateful = made("StatefulSet", spec, "apps/v1")
    stateful["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": {"volumeMode": "Block"}}, 7]
    pod = only(stateful, STORAGE_CLASS)
    assert pod.templates["data"].block
    assert pod.templates["data"].provisioner == pod.classes[""].provisioner == "ebs.csi.aws.com"


def test_handlers_tokens_devices_and_identity() -> None:
    """A RuntimeClass, a ServiceAccount, annotations of CDI; a Pod that runs already has its token as a volume."""
    runtime_class = {"kind": "RuntimeClass", "metadata": {"name": "fast"}, "handler": "crun"}
    account = {"kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "s"}}
    annotations = {"cdi.k8s.io/gpu": "vendor.com/gpu=0", "other": "x"}
    spec = SPEC | {"runtimeClassName": "fast"}
    pod = only(
        account | {"automountServiceAccountToken": False},
        made("Pod", spec, uid="u", annotations=annotations),
        runtime_class,
    )
    assert (pod.handler, pod.token, pod.devices, pod.uid) == (
        "crun",
        False,
        {"cdi.k8s.io/gpu": "vendor.com/gpu=0"},
        "u",
    )
    pod = only(made("Deployment", spec, "apps/v1", uid="u"))
    assert (pod.handler, pod.token, pod.devices, pod.uid) == (None, None, {}, "")


def test_malformed_objects_count_as_not_given() -> None:
    """Nothing that a Pod names can cost the Pod."""
    kinds = ("PersistentVolumeClaim", "PersistentVolume", "StorageClass", "RuntimeClass", "ServiceAccount")
    objects = [{"kind": kind, "metadata": {"name": "c"}, "spec": 7, "handler": [], "provisioner": {}} for kind in kinds]
    assert only(*objects, made("Pod", SPEC)).claims == {}
