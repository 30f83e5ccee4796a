"""What people give to be judged: manifests, and Nodes with annotations that anybody may have written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from lab.faults.targets.target import Target
from lab.reports import REPORTS
from probe.fleet.node_object import node_of_object
from probe.outputs.annotations import PREFIX, node_annotations
from probe.outputs.pods import Pods, node_row, pod_row, render_pods
from probe.pod.documents import parse_documents
from probe.pod.judge import is_judged, judge
from probe.pod.manifests import find_workloads
from probe.pod.model import Node

PODS = "rubbish in manifests of Pods, and in annotations of Nodes"
_NOBODY = Node(told_by="annotations")
_NOW = datetime(2026, 11, 21, 22, tzinfo=UTC).timestamp()
MANIFEST = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  template:
    spec:
      hostUsers: false
      runtimeClassName: crun
      securityContext: {runAsUser: 1000, supplementalGroups: [1, 70000]}
      containers:
      - name: c
        securityContext: &context {procMount: Unmasked, capabilities: {add: [SYS_TIME]}}
        resources: {limits: {nvidia.com/gpu: 1}}
        volumeMounts: [{name: data, mountPath: /d}, {name: n, mountPath: /n, subPath: x}, {name: t, mountPath: /t}]
      - {name: d, securityContext: *context}
      volumes:
      - {name: n, nfs: {server: a, path: /}}
      - {name: t, persistentVolumeClaim: {claimName: t}}
  volumeClaimTemplates:
  - {metadata: {name: data}, spec: {storageClassName: fast, accessModes: [ReadWriteOnce]}}
---
{kind: PersistentVolumeClaim, metadata: {name: t, namespace: shop}, spec: {volumeName: pv}}
--- # behind it
{kind: PersistentVolume, metadata: {name: pv}, spec: {csi: {driver: ebs.csi.aws.com, fsType: xfs}}}
"""
LIST = '{"kind": "List", "items": [{"kind": "Pod", "metadata": {"name": "p"}, "spec": {"hostUsers": false}}]}'


def read_manifests(data: bytes) -> None:
    """Each is judged or a problem, and on a node of which nothing is known none runs with a user namespace."""
    found = find_workloads([("f", parse_documents(data))], assume=True)
    rows = tuple(pod_row(one, judge(one.pod, _NOBODY) if one.pod else None) for one in found.workloads)
    for row, workload in zip(rows, found.workloads, strict=True):
        assert row.outcome != "runs" or (workload.pod and not is_judged(workload.pod))
    document = Pods(node=node_row(_NOBODY, ""), pods=rows, problems=tuple(found.problems))
    msgspec.json.encode(document)
    assert "\x1b" not in render_pods(document, width=80, colour=False, verbose=1)


def read_node(data: bytes) -> None:
    """A Node is no node of which the levels are known that nobody published."""
    for document in parse_documents(data):
        with suppress(msgspec.ValidationError):
            node, _ = node_of_object(document.value, _NOW)
            assert all(ids is None or 0 <= ids <= 1 << 32 for ids in (node.ids_per_pod,))


def _nodes() -> Sequence[bytes]:
    written = {f"{PREFIX}refreshed-at": "2026-11-21T21:00:00Z"}
    return [json.dumps(_node(node_annotations(report) | written)).encode() for report in REPORTS.values()]


def _node(annotations: dict[str, str]) -> dict[str, Any]:
    handlers = [{"name": "", "features": {"userNamespaces": True}}, {"name": "crun"}]
    info = {"bootID": annotations.get("userns-probe.io/boot-id", ""), "kubeletVersion": "v1.36.2"}
    return {
        "kind": "Node",
        "metadata": {"name": "n", "annotations": annotations},
        "status": {"nodeInfo": info, "runtimeHandlers": handlers},
    }


TARGETS = (
    Target(
        name="manifests",
        group=PODS,
        attempt=read_manifests,
        corpus=lambda: [MANIFEST.encode(), LIST.encode()],
        tokens=("kind: Pod", "hostUsers: false", "volumes:", "- ", "---\n", "&a", "*a", "<<: *a", "null", "items:"),
        runs=10_000,
    ),
    Target("nodes", PODS, read_node, _nodes, ("ids-per-pod=", "stateless=ready", '"userNamespaces":'), runs=10_000),
)
