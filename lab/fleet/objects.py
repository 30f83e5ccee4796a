"""Objects as a real API server returns them: Pods of about 10 kB, Nodes with what the agent publishes, their owners."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from lab import reports
from probe.outputs.annotations import PREFIX, node_annotations
from probe.report import Report

Document = dict[str, Any]
NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
"""The API server's clock."""
HTTP_NOW = "Sun, 29 Nov 2026 12:00:00 GMT"


def uid(*parts: object) -> str:
    """A UID that *parts* decide."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, parts))))


def time_of(ago: timedelta = timedelta()) -> str:
    return (NOW - ago).strftime("%Y-%m-%dT%H:%M:%SZ")


def metadata(name: str, namespace: str = "", **more: Any) -> Document:
    found: Document = {
        "name": name,
        "uid": uid(namespace, name),
        "resourceVersion": "7",
        "creationTimestamp": time_of(),
    }
    return found | ({"namespace": namespace} if namespace else {}) | more


def owner(kind: str, name: str, api: str = "apps/v1", namespace: str = "", **more: Any) -> Document:
    return {
        "apiVersion": api,
        "kind": kind,
        "name": name,
        "uid": uid(namespace, name),
        "controller": True,
        "blockOwnerDeletion": True,
    } | more


def published(report: Report, boot: str, ago: timedelta = timedelta(minutes=10)) -> dict[str, str]:
    """The annotations that the agent writes, with boot and time."""
    return node_annotations(report) | {f"{PREFIX}boot-id": boot, f"{PREFIX}refreshed-at": time_of(ago)}


def managed(manager: str, annotations: dict[str, str]) -> list[Document]:
    fields = {"f:metadata": {"f:annotations": {f"f:{key}": {} for key in annotations}}}
    return [
        {"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}}},
        {"manager": manager, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields},
    ]


def node(
    name: str,
    report: Report | None = None,
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    manager: str = "userns-probe",
    boot: str = "",
    taints: list[Document] | None = None,
    os: str = "linux",
    kernel: str = "6.12.48",
    kubelet: str = "v1.36.2",
    ago: timedelta = timedelta(minutes=10),
) -> Document:
    """A Node; *report*: what its agent published."""
    boot = boot or uid("boot", name)
    own = annotations if annotations is not None else published(report, uid("boot", name), ago) if report else {}
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": metadata(
            name,
            labels={
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": os,
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": f"zone-{len(name) % 3}",
                **(labels or {}),
            },
            annotations={"node.alpha.kubernetes.io/ttl": "0", "csi.volume.kubernetes.io/nodeid": "{}", **own},
            **({"managedFields": managed(manager, own)} if own else {}),
        ),
        "spec": {"podCIDR": "10.1.0.0/24", **({"taints": taints} if taints else {})},
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok"}],
            "images": [
                {"names": [f"registry.example/image-{index}@sha256:{'a' * 64}"], "sizeBytes": 1} for index in range(50)
            ],
            "nodeInfo": {
                "bootID": boot,
                "kernelVersion": kernel,
                "kubeletVersion": kubelet,
                "containerRuntimeVersion": "containerd://2.2.5",
                "operatingSystem": os,
                "osImage": "Debian GNU/Linux 13",
                "architecture": "amd64",
                "machineID": uid(name)[:32],
                "systemUUID": uid(name, "system"),
            },
            "runtimeHandlers": [
                {"name": "", "features": {"recursiveReadOnlyMounts": True, "userNamespaces": os == "linux"}}
            ],
        },
    }


def pod(
    name: str,
    namespace: str = "default",
    *,
    controller: Document | None = None,
    node: str = "",
    phase: str = "Running",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    volumes: list[Document] | None = None,
    container: Document | None = None,
    token: bool = True,
    **spec: Any,
) -> Document:
    """A Pod as it stands in etcd, its token's volume and its managedFields included. *spec*: further fields."""
    suffix = "".join(random.Random(f"{namespace}/{name}").choices("bcdfghjklmnpqrstvwxz2456789", k=5))
    all_volumes = [*(volumes or []), *([_token(suffix)] if token else [])]
    mounts = [{"name": each["name"], "mountPath": f"/mnt/{each['name']}"} for each in all_volumes]
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata(
            name,
            namespace,
            generateName=f"{name[:-5]}",
            labels={"app.kubernetes.io/name": name[:20], "app.kubernetes.io/instance": namespace, **(labels or {})},
            annotations={"checksum/config": uid(name) * 2, "prometheus.io/scrape": "true", **(annotations or {})},
            managedFields=[_fields("kube-controller-manager"), _fields("kubelet")],
            **({"ownerReferences": [controller]} if controller else {}),
        ),
        "spec": {
            "volumes": all_volumes,
            "containers": [_container(f"registry.example/{namespace}/app:1.2.{len(name)}", mounts) | (container or {})],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
            "priority": 0,
            "tolerations": [
                {
                    "key": f"node.kubernetes.io/{key}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }
                for key in ("not-ready", "unreachable")
            ],
            **({"nodeName": node} if node else {}),
            **spec,
        },
        "status": _status(name, phase),
    }


def _token(suffix: str) -> Document:
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return {"name": f"kube-api-access-{suffix}", "projected": {"sources": sources, "defaultMode": 420}}


def _container(image: str, mounts: list[Document]) -> Document:
    probe = {
        "httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"},
        "periodSeconds": 10,
        "timeoutSeconds": 1,
    }
    return {
        "name": "app",
        "image": image,
        "args": [f"--option-{index}=value-{index}" for index in range(12)],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": [
            {"name": f"SETTING_{index}", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": f"key-{index}"}}}
            for index in range(24)
        ],
        "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": mounts,
        "livenessProbe": probe,
        "readinessProbe": probe,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }


def _fields(manager: str) -> Document:
    """About 1.7 kB: who owns which field."""
    container = {f"f:{name}": {} for name in ("args", "image", "imagePullPolicy", "name", "ports", "resources")}
    env = {f'k:{{"name":"SETTING_{index}"}}': {".": {}, "f:name": {}, "f:valueFrom": {}} for index in range(24)}
    spec = {"f:containers": {'k:{"name":"app"}': {".": {}, **container, "f:env": {".": {}, **env}}}}
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": time_of(),
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}, "f:spec": spec},
    }


def _status(name: str, phase: str) -> Document:
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ip = f"10.1.{len(name)}.{sum(map(ord, name)) % 250}"
    return {
        "phase": phase,
        "conditions": [
            {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": time_of()} for kind in kinds
        ],
        "hostIP": "192.0.2.1",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": time_of(),
        "qosClass": "Burstable",
        "containerStatuses": [
            {
                "name": "app",
                "state": {"running": {"startedAt": time_of()}},
                "lastState": {},
                "ready": True,
                "restartCount": 0,
                "image": "registry.example/app:1",
                "imageID": f"registry.example/app@sha256:{uid(name).replace('-', '') * 2}",
                "containerID": f"containerd://{uid(name, 'container').replace('-', '') * 2}",
                "started": True,
            }
        ],
    }


def ready() -> Report:
    return reports.make_report()


def not_ready() -> Report:
    return reports.tmpfs_refused()


def unknown() -> Report:
    return reports.not_permitted()
