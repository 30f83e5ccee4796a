"""Manifests in which anything may stand anywhere: every one has an answer, and a wrong word never makes a Pod run."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lab.reports import REPORTS
from probe.outputs.documents import render_json
from probe.outputs.pods import Pods, node_row, pod_row, render_pods
from probe.pod.documents import parse_documents
from probe.pod.judge import judge
from probe.pod.manifests import find_workloads
from probe.pod.model import Node
from probe.pod.node import node_of_report
from tests.extent import HOSTILE_EXAMPLES

CONTAINER = {
    "name": "c",
    "securityContext": {"runAsUser": 1, "privileged": False, "procMount": "Default", "capabilities": {"add": ["X"]}},
    "resources": {"limits": {"cpu": 1}, "claims": [{"name": "r"}]},
    "volumeMounts": [
        {"name": f"v{number}", "mountPath": "/v", "subPath": "s", "readOnly": True} for number in range(6)
    ],
    "volumeDevices": [],
}
SPEC = {
    "hostUsers": False,
    "hostNetwork": False,
    "os": {"name": "linux"},
    "runtimeClassName": "r",
    "securityContext": {"fsGroup": 1, "supplementalGroups": [1]},
    "initContainers": [CONTAINER],
    "containers": [CONTAINER],
    "volumes": [
        {"name": "v0", "hostPath": {"path": "/a", "type": ""}},
        {"name": "v1", "emptyDir": {"medium": ""}},
        {"name": "v2", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "v3", "csi": {"driver": "d", "fsType": "ext4", "volumeAttributes": {"a": "b"}}},
        {"name": "v4", "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "s"}}}},
        {"name": "v5", "projected": {"sources": []}},
    ],
}
OBJECTS: list[Any] = [
    {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "n", "namespace": "s"},
        "spec": {
            "template": {"metadata": {"annotations": {"cdi.k8s.io/x": "y"}}, "spec": SPEC},
            "volumeClaimTemplates": [{"metadata": {"name": "v0"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
        },
    },
    {"kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "s"}, "spec": {"volumeName": "p"}},
    {"kind": "PersistentVolume", "metadata": {"name": "p"}, "spec": {"local": {"path": "/p"}}},
    {"kind": "StorageClass", "metadata": {"name": "s"}, "provisioner": "p", "parameters": {"fsType": "xfs"}},
    {"kind": "RuntimeClass", "metadata": {"name": "r"}, "handler": "runc"},
]
NODES = (Node(told_by="annotations"), node_of_report(REPORTS["ready"]))


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in *value*."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, one in inner for path in paths(one, (*at, key)))][(0 if at else 1) :]


PATHS = paths(OBJECTS)
ODD: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["Unmasked", "Memory", "windows", "/", "\0", "\ud800", "..", {}, [], [[]], {"": {}}, 1 << 70]),
)


@settings(max_examples=HOSTILE_EXAMPLES)
@given(st.lists(st.tuples(st.sampled_from(PATHS), ODD), min_size=1, max_size=3))
def test_anything_anywhere(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """All of it can be judged, and told to people and machines."""
    objects = copy.deepcopy(OBJECTS)
    for path, value in changes:
        with suppress(LookupError, TypeError):  # a change before may have put something else there
            inner: Any = objects
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = copy.deepcopy(value)
    content = "\n".join(json.dumps(one) for one in objects).encode()
    found = find_workloads([("f", parse_documents(content))], assume=True)
    for node in NODES:
        rows = tuple(pod_row(one, judge(one.pod, node) if one.pod else None) for one in found.workloads)
        document = Pods(node=node_row(node, ""), pods=rows, problems=tuple(found.problems))
        assert json.loads(render_json(document))["pods"] is not None
        assert "\x1b" not in render_pods(document, width=80, colour=False, verbose=1)
        for row, workload in zip(rows, found.workloads, strict=True):
            if node is NODES[0] and workload.pod and workload.pod.spec.host_users is not True:
                assert row.outcome != "runs"
