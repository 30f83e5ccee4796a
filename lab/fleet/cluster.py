"""A small cluster with one of each: pools, owners, orphans, mirror Pods, Windows, virtual kubelets, hostile names."""

from __future__ import annotations

import pickle
from datetime import timedelta
from functools import cache
from typing import Any

import yaml

from lab.fleet.objects import (
    HTTP_NOW,
    Document,
    metadata,
    node,
    not_ready,
    owner,
    pod,
    published,
    ready,
    uid,
    unknown,
)
from lab.fleet.server import Documents, ListServer
from probe.outputs.annotations import LABEL, PREFIX

GKE, EKS, AKS = "cloud.google.com/gke-nodepool", "eks.amazonaws.com/nodegroup", "kubernetes.azure.com/agentpool"
KARPENTER = "karpenter.sh/nodepool"
HOSTILE = 'x"><script>alert(1)</script>\x1b[31m=SUM(A1)'
CONFINED = {LABEL: "true"}
VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.2"}


def nodes() -> list[Document]:
    """Seven pools; each way in which annotations are worth nothing."""
    general = [node(f"gen-{index}", ready(), labels={GKE: "general", LABEL: "true"}) for index in range(6)]
    general[0]["metadata"]["annotations"] |= {
        "cluster.x-k8s.io/cluster-name": "prod",
        "cluster.x-k8s.io/cluster-namespace": "capi",
    }
    old = [
        node(f"old-{index}", not_ready(), labels={EKS: "old", LABEL: "false"}, kernel="5.15.0") for index in range(4)
    ]
    forged = published(ready(), uid("boot", "odd-foreign"))
    lying = published(ready(), uid("boot", "odd-lying")) | {f"{PREFIX}levels": "stateless=not-ready,projected=ready"}
    cut = {key: value[:7] for key, value in published(ready(), uid("boot", "odd-cut")).items()}
    odd = [
        node("odd-unknown", unknown(), labels={AKS: "odd"}),
        node("odd-missing", labels={AKS: "odd"}),
        node("odd-stale", ready(), labels={AKS: "odd", LABEL: "true"}, ago=timedelta(days=2)),
        node("odd-rebooted", ready(), labels={AKS: "odd", LABEL: "true"}, boot=uid("another boot")),
        node("odd-future", ready(), labels={AKS: "odd"}, ago=timedelta(hours=-3)),
        node("odd-foreign", annotations=forged, manager="kubectl-annotate", labels={AKS: "odd", LABEL: "true"}),
        node("odd-lying", annotations=lying, labels={AKS: "odd"}),
        node("odd-cut", annotations=cut, labels={AKS: "odd"}),
        node("odd-hostile", annotations={f"{PREFIX}verdict": HOSTILE, f"{PREFIX}levels": HOSTILE}, labels={AKS: "odd"}),
    ]
    virtual = {"key": "virtual-kubelet.io/provider", "value": "azure", "effect": "NoSchedule"}
    return [
        *general,
        *old,
        *odd,
        node("karp-0", ready(), labels={KARPENTER: "karp"}),
        node("win-0", os="windows", labels={EKS: "windows"}),
        node("virtual-0", labels={"type": "virtual-kubelet"}, taints=[virtual]),
        node(
            "control-0",
            ready(),
            labels={"node-role.kubernetes.io/control-plane": ""},
            taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}],
        ),
    ]


def replicas(
    name: str, namespace: str, count: int, hosts: list[str], revision: str = "7d4b9c8f6", **more: Any
) -> list[Document]:
    """Pods of a ReplicaSet, whose Deployment is *name*."""
    labels = {"pod-template-hash": revision}
    controller = owner("ReplicaSet", f"{name}-{revision}", namespace=namespace)
    return [
        pod(
            f"{name}-{revision}-{index:05d}",
            namespace,
            controller=controller,
            node=hosts[index % len(hosts)] if hosts else "",
            labels=labels,
            **more,
        )
        for index in range(count)
    ]


def daemon(name: str, namespace: str, hosts: list[str], **more: Any) -> list[Document]:
    """Pods of a DaemonSet, each with the name of its node in its affinity, as the controller writes it."""
    found = []
    for index, host in enumerate(hosts):
        fields = [{"key": "metadata.name", "operator": "In", "values": [host]}]
        required = {"nodeSelectorTerms": [{"matchFields": fields}]}
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
        controller = owner("DaemonSet", name, namespace=namespace)
        found.append(pod(f"{name}-{index:05d}", namespace, controller=controller, node=host, affinity=affinity, **more))
    return found


def pods() -> list[Document]:
    """Of each list some, with every way to own a Pod."""
    gen, old = [f"gen-{index}" for index in range(6)], [f"old-{index}" for index in range(4)]
    claim = [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]
    mirror = {"kubernetes.io/config.mirror": "0123", "kubernetes.io/config.source": "file"}
    workflow = owner("Workflow", "etl-x7k2p", "argoproj.io/v1alpha1", "batch")
    term = [{"matchExpressions": [{"key": LABEL, "operator": "In", "values": ["true"]}]}]
    required = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": term}}}
    loose = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    *term,
                    {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]},
                ]
            }
        }
    }
    return [
        # asks, confined to the pool of ready nodes
        *replicas("isolated", "shop", 6, gen, hostUsers=False, nodeSelector={GKE: "general", **CONFINED}),
        # asks, confined by affinity, but a node of the selected ones is stale
        *replicas("affine", "shop", 2, gen, hostUsers=False, affinity=required),
        # asks, in one OR term of two: not confined
        *replicas("loose", "shop", 2, gen, hostUsers=False, affinity=loose),
        # asks, on nodes that refuse
        *replicas("doomed", "shop", 4, old, hostUsers=False, nodeSelector={EKS: "old"}),
        # two revisions of a roll-out: the newer one asks
        *replicas("rolling", "shop", 3, gen, nodeSelector={GKE: "general"}),
        *replicas("rolling", "shop", 1, gen, "5f6d7c8b9", hostUsers=False, nodeSelector={GKE: "general"}),
        # does not ask, and could
        *replicas("movable", "shop", 5, gen, nodeSelector={GKE: "general"}),
        *replicas("anywhere", "shop", 3, [*gen, *old]),
        # says that it does not want to
        *replicas("refuses", "shop", 1, gen, hostUsers=True, nodeSelector={GKE: "general"}),
        # host namespaces
        *daemon("node-exporter", "monitoring", [*gen, *old], hostNetwork=True, hostPID=True),
        # a DaemonSet that our label selects, on a node that lost it
        *daemon("follower", "monitoring", ["gen-0", "old-0"], nodeSelector=CONFINED),
        # an NFS volume, and one of a StatefulSet with a claim for each Pod
        *replicas(
            "files",
            "shop",
            2,
            gen,
            volumes=[{"name": "www", "nfs": {"server": "nfs", "path": "/"}}],
            nodeSelector={GKE: "general"},
        ),
        *(
            pod(
                f"db-{index}",
                "shop",
                controller=owner("StatefulSet", "db", namespace="shop"),
                node=gen[index],
                nodeSelector={GKE: "general"},
                volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": f"data-db-{index}"}}],
            )
            for index in range(3)
        ),
        # owners: a Job of a CronJob, a Job of its own, a custom resource, a ReplicaSet of a Rollout, an orphan
        pod(
            "nightly-28371-abcde", "batch", controller=owner("Job", "nightly-28371", "batch/v1", "batch"), node="gen-0"
        ),
        pod("once-abcde", "batch", controller=owner("Job", "once", "batch/v1", "batch"), node="gen-1"),
        pod("etl-x7k2p-1", "batch", controller=workflow, node="gen-2"),
        pod("etl-x7k2p-2", "batch", controller=workflow, node="gen-3", phase="Pending"),
        *replicas("canary", "shop", 2, gen, "66c4d5b7d"),
        *replicas("orphan", "shop", 1, gen, "abc123def"),
        # without owner: bare, static (its mirror), not scheduled, of an unknown node
        pod("bare", "default", node="gen-4"),
        pod(
            "kube-apiserver-control-0",
            "kube-system",
            annotations=mirror,
            node="control-0",
            hostNetwork=True,
            token=False,
            controller=owner("Node", "control-0", "v1"),
            volumes=[{"name": "k8s", "hostPath": {"path": "/etc/kubernetes"}}],
        ),
        pod("waiting", "default", phase="Pending", volumes=claim),
        pod("lost", "default", node="gone-0"),
        # Windows and a virtual kubelet
        pod("iis", "windows", node="win-0", nodeSelector={"kubernetes.io/os": "windows"}, os={"name": "windows"}),
        pod(
            "burst",
            "virtual",
            node="virtual-0",
            nodeSelector={"type": "virtual-kubelet"},
            tolerations=[{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
        ),
        # hostile names, which no API server would admit
        pod(
            HOSTILE,
            "default",
            controller=owner(HOSTILE, HOSTILE, "evil/v1"),
            node="gen-5",
            annotations={HOSTILE: HOSTILE},
        ),
        # finished: left out by the server
        pod("done-1", "batch", phase="Succeeded", node="gen-0"),
        pod("done-2", "batch", phase="Failed", node="gen-0", hostUsers=False),
    ]


def controllers(kind: str, api: str, objects: list[tuple[str, str, Document | None]]) -> Documents:
    """ReplicaSets or Jobs: (namespace, name, their controller)."""
    return Documents(
        [
            {
                "kind": kind,
                "apiVersion": api,
                "metadata": metadata(name, namespace, **({"ownerReferences": [above]} if above else {})),
            }
            for namespace, name, above in objects
        ]
    )


def replicasets() -> Documents:
    """Of each Deployment, with an old revision without Pods; `orphan-abc123def` is gone."""
    names = {"isolated", "affine", "loose", "doomed", "rolling", "movable", "anywhere", "files", "refuses"}
    found: list[tuple[str, str, Document | None]] = []
    for name in sorted(names):
        above = owner("Deployment", name, namespace="shop")
        found += [("shop", f"{name}-7d4b9c8f6", above), ("shop", f"{name}-0000000000", above)]
    found.append(("shop", "rolling-5f6d7c8b9", owner("Deployment", "rolling", namespace="shop")))
    found.append(("shop", "canary-66c4d5b7d", owner("Rollout", "canary", "argoproj.io/v1alpha1", "shop")))
    return controllers("ReplicaSet", "apps/v1", found)


def jobs() -> Documents:
    above = owner("CronJob", "nightly", "batch/v1", "batch")
    return controllers("Job", "batch/v1", [("batch", "nightly-28371", above), ("batch", "once", None)])


def namespaces() -> Documents:
    prefix = "pod-security.kubernetes.io/"
    labels: dict[str, dict[str, str]] = {
        "batch": {f"{prefix}enforce": "baseline"},
        "default": {},
        "kube-system": {f"{prefix}enforce": "privileged"},
        "monitoring": {f"{prefix}enforce": "privileged", f"{prefix}warn": "restricted"},
        "shop": {f"{prefix}enforce": "restricted", f"{prefix}enforce-version": "v1.34", f"{prefix}audit": "restricted"},
        "strict": {f"{prefix}enforce": "restricted", f"{prefix}enforce-version": "latest"},
        "virtual": {f"{prefix}enforce": HOSTILE},
        "windows": {f"{prefix}enforce": "restricted", f"{prefix}enforce-version": "v1.35"},
    }
    return Documents([{"metadata": metadata(name, labels=found)} for name, found in labels.items()])


def volumes() -> Documents:
    """Of the claims data-db-0 and data-db-1 on EBS; data-db-2 is not bound."""
    found = []
    for index in range(2):
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "shop", "name": f"data-db-{index}"},
            "csi": {
                "driver": "ebs.csi.aws.com",
                "fsType": "ext4",
                "volumeHandle": f"vol-{index}",
                "volumeAttributes": {"a": str(index)},
            },
        }
        found.append({"metadata": metadata(f"pvc-{index}"), "spec": spec})
    return Documents(found)


def lists() -> dict[str, tuple[str, Documents]]:
    """All lists of the cluster, by path, for a caller that may change them."""
    made: dict[str, tuple[str, Documents]] = pickle.loads(_pickled())
    return made


@cache
def _pickled() -> bytes:
    return pickle.dumps(_lists())


def _lists() -> dict[str, tuple[str, Documents]]:
    admission = "/apis/admissionregistration.k8s.io/v1"
    return {
        "/api/v1/nodes": ("Node", Documents(nodes())),
        "/api/v1/pods": ("Pod", Documents(pods())),
        "/api/v1/namespaces": ("Namespace", namespaces()),
        "/api/v1/persistentvolumes": ("PersistentVolume", volumes()),
        "/apis/apps/v1/replicasets": ("ReplicaSet", replicasets()),
        "/apis/batch/v1/jobs": ("Job", jobs()),
        "/apis/node.k8s.io/v1/runtimeclasses": (
            "RuntimeClass",
            Documents([{"metadata": metadata("kata"), "handler": "kata"}]),
        ),
        "/apis/storage.k8s.io/v1/storageclasses": ("StorageClass", Documents([])),
        f"{admission}/validatingadmissionpolicies": ("ValidatingAdmissionPolicy", validating()),
        f"{admission}/validatingadmissionpolicybindings": ("ValidatingAdmissionPolicyBinding", bindings()),
        f"{admission}/mutatingadmissionpolicies": ("MutatingAdmissionPolicy", mutating()),
        f"{admission}/mutatingadmissionpolicybindings": ("MutatingAdmissionPolicyBinding", Documents([])),
        "/apis/kyverno.io/v1/clusterpolicies": ("ClusterPolicy", kyverno()),
        "/apis/karpenter.sh/v1/nodepools": ("NodePool", node_pools()),
        "/apis/cluster.x-k8s.io/v1beta2/machinedeployments": ("MachineDeployment", machine_deployments()),
        "/apis/cluster.x-k8s.io/v1beta1/machinesets": ("MachineSet", Documents([machines("set", "prod")])),
        "/api/v1/namespaces/kube-system/configmaps": ("ConfigMap", Documents([autoscaler_status()])),
    }


def validating() -> Documents:
    """Policies that require, forbid and something else, and one that does not care."""
    expressions = {
        "require": "has(object.spec.hostUsers) && object.spec.hostUsers == false",
        "require-optional": "!object.spec.?hostUsers.orValue(true)",
        "forbid": "!has(object.spec.hostUsers)",
        "odd": "object.spec.?hostUsers.orValue(true) || object.spec.containers.all(c, c.name != 'x')",
        "other": "object.spec.replicas < 5",
    }
    return Documents(
        [
            {"metadata": metadata(name), "spec": {"validations": [{"expression": text, "message": HOSTILE}]}}
            for name, text in expressions.items()
        ]
    )


def bindings() -> Documents:
    selector = {
        "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}]
    }
    return Documents(
        [
            {
                "metadata": metadata("require-all"),
                "spec": {
                    "policyName": "require",
                    "validationActions": ["Warn", "Audit"],
                    "matchResources": {"namespaceSelector": selector},
                },
            },
            {
                "metadata": metadata("forbid-windows"),
                "spec": {
                    "policyName": "forbid",
                    "validationActions": ["Deny"],
                    "matchResources": {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "windows"}}
                    },
                },
            },
        ]
    )


def mutating() -> Documents:
    patch = 'has(object.spec.hostUsers) ? [] : [JSONPatch{op: "add", path: "/spec/hostUsers", value: false}]'
    apply = "Object{spec: Object.spec{hostUsers: false}}"
    return Documents(
        [
            {
                "metadata": metadata("default-patch"),
                "spec": {"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}]},
            },
            {
                "metadata": metadata("default-apply"),
                "spec": {"mutations": [{"applyConfiguration": {"expression": apply}}]},
            },
        ]
    )


def kyverno() -> Documents:
    rules = {
        "kyverno-require": {"validate": {"failureAction": "Enforce", "pattern": {"spec": {"hostUsers": False}}}},
        "kyverno-default": {"mutate": {"patchStrategicMerge": {"spec": {"+(hostUsers)": False}}}},
        "kyverno-odd": {"validate": {"cel": {"expressions": [{"expression": "object.spec.hostUsers == false"}]}}},
        "kyverno-wrong": {"validate": {"pattern": {"spec": {"hostUsers": "nonsense"}}}},
    }
    return Documents(
        [{"metadata": metadata(name), "spec": {"rules": [{"name": "rule", **rule}]}} for name, rule in rules.items()]
    )


def node_pools() -> Documents:
    """One with nodes, and two of size 0, of which one promises the label."""
    labels: dict[str, dict[str, str]] = {"karp": {}, "empty": {}, "promised": {LABEL: "true"}}
    return Documents(
        [
            {"metadata": metadata(name), "spec": {"template": {"metadata": {"labels": found}, "spec": {}}}}
            for name, found in labels.items()
        ]
    )


def machines(name: str, cluster: str, annotations: dict[str, str] | None = None, **spec: Any) -> Document:
    """Machines that cluster-autoscaler may scale."""
    scaled = {f"cluster.x-k8s.io/cluster-api-autoscaler-node-group-{end}-size": "0" for end in ("min", "max")}
    meta = metadata(name, "capi", annotations=scaled if annotations is None else scaled | annotations)
    return {"metadata": meta, "spec": {"clusterName": cluster, "replicas": 0, "template": {}, **spec}}


def machine_deployments() -> Documents:
    """Of size 0: with and without a promise, of another cluster, not scaled; and one with a machine."""
    labels = "capacity.cluster-autoscaler.kubernetes.io/labels"
    by_hand = machines("by-hand", "prod")
    by_hand["metadata"]["annotations"] = {}
    return Documents(
        [
            machines("bare", "prod"),
            machines("promising", "prod", {labels: f"zone=a, {LABEL}=true"}),
            machines("denying", "prod", {labels: f"{LABEL}=false,{LABEL}x=true"}),
            machines("other", "staging"),
            by_hand,
            machines("live", "prod", replicas=1),
        ]
    )


def autoscaler_status() -> Document:
    """Of cluster-autoscaler: a group with nodes, two without, of which one can have none, and one of Cluster API."""
    sizes = {"asg-live": (2, 3), "asg-empty": (0, 3), "asg-off": (0, 0), "MachineDeployment/capi/bare": (0, 3)}
    groups = [
        {"name": name, "health": {"status": "Healthy", "cloudProviderTarget": size, "minSize": 0, "maxSize": largest}}
        for name, (size, largest) in sizes.items()
    ]
    status = {"time": "2026-11-21", "autoscalerStatus": "Running", "clusterWide": {}, "nodeGroups": groups}
    return {
        "metadata": metadata("cluster-autoscaler-status", "kube-system"),
        "data": {"status": yaml.safe_dump(status)},
    }


def small() -> ListServer:
    """The API server of the small cluster."""
    server = ListServer(lists(), {"/version": VERSION})
    server.headers["Date"] = HTTP_NOW
    return server
