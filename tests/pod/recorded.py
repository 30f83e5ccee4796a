"""Manifests of the Pods that were recorded (tests/pods/pods.json), and the nodes as the Pod question sees them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from lab.recorded import Recording
from probe.make_report import filesystem_row
from probe.outputs.annotations import node_annotations
from probe.pod.annotations import node_of_annotations
from probe.pod.documents import parse_documents
from probe.pod.manifests import find_workloads
from probe.pod.model import Node, Pod
from probe.pod.node import node_of_report
from probe.report import Report
from tests.test_recorded_pods import recorded_node

IDS = {"userns-fsGroup-70000": ("fsGroup", 70_000), "userns-runAsUser-65535": ("runAsUser", 65_535)}
IDS |= {"userns-runAsUser-70000": ("runAsUser", 70_000)}
CONTEXTS = {"userns-privileged": {"privileged": True}, "userns-procMount-unmasked": {"procMount": "Unmasked"}}


def manifest_of(pod: dict[str, Any]) -> bytes:
    """A manifest of that Pod, in JSON, with its RuntimeClass behind it."""
    name = pod["pod"]
    spec: dict[str, Any] = {"hostUsers": None if name == "hostusers-unset" else bool(pod.get("host_users"))}
    container: dict[str, Any] = {"name": "c", "image": "lab.local/busybox:1"}
    if not pod.get("token", True):
        spec["automountServiceAccountToken"] = False
    if handler := pod.get("handler"):
        spec["runtimeClassName"] = handler
    if name in IDS:
        spec["securityContext"] = dict([IDS[name]])
    if name in CONTEXTS:
        container["securityContext"] = CONTEXTS[name]
    if path := pod.get("path"):
        mount: dict[str, Any] = {"name": "v", "mountPath": "/v", "readOnly": name.endswith("-ro")}
        volume: dict[str, Any] = {"hostPath": {"path": path}}
        if path == "tmpfs":
            volume = {"emptyDir": {"medium": "Memory"}}
        elif path == "/var/lib/kubelet/pods":
            volume = {"emptyDir": {}}
        if name.startswith("userns-subPath"):
            mount["subPath"] = "below"
        container["volumeMounts"], spec["volumes"] = [mount], [{"name": "v", **volume}]
    spec["containers"] = [container]
    objects = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name.lower()}, "spec": spec}]
    if handler:
        objects.append(
            {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": handler}, "handler": handler}
        )
    return "\n".join(json.dumps(one) for one in objects).encode()


def pod_of(manifest: bytes, assume: bool = False) -> Pod:
    """The only Pod of a manifest."""
    found = find_workloads([("-", parse_documents(manifest))], assume)
    assert not found.problems
    (workload,) = found.workloads
    assert workload.pod is not None, workload.problem
    return workload.pod


@cache
def _recorded(node: str, variation: str) -> tuple[Recording, Report]:
    recording = recorded_node({"node": node, **({"variation": variation} if variation else {})})
    return recording, recording.report()


def probed(pod: dict[str, Any], *paths: str) -> Node:
    """What a probe on the node of that Pod knows, which also tried *paths*."""
    recording, report = _recorded(pod["node"], pod.get("variation", ""))
    return node_of_report(report, "probe", [filesystem_row(recording.try_path(path)) for path in paths])


def published(pod: dict[str, Any]) -> Node:
    """What the agent on the node of that Pod has published."""
    _, report = _recorded(pod["node"], pod.get("variation", ""))
    return node_of_annotations(
        node_annotations(report),
        boot_id=report.node.boot_id,
        kernel_release=report.facts.kernel_release,
        kubelet_version=f"v{report.facts.kubelet_version}",
        runtime=f"{report.facts.runtime_name}://{report.facts.runtime_version}",
        offered={one.handler: one.user_namespaces for one in report.facts.oci_runtimes},
    )
