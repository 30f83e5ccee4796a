"""A large cluster, generated while it is read: each Pod is distinct, and no list is ever held.

`python -m lab.fleet.scale FOLDER NODES PODS` serves it, writes FOLDER/kubeconfig, says `serving`, and ends with stdin.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from lab.fleet import objects
from lab.fleet.objects import HTTP_NOW, Document, owner, pod
from lab.fleet.server import ListServer, serving
from probe.outputs.annotations import LABEL

PER_WORKLOAD = 12
DAEMONSETS = 6
"""On each node; as many Pods as nodes, each."""
NODES_PER_POOL = 500
REVISIONS = 11
"""ReplicaSets of a Deployment, of which one has Pods."""
KINDS = ("Deployment",) * 7 + ("StatefulSet", "StatefulSet", "Job")
NAME, NODE, UID, HASH, ADDRESS = "podname00000", "nodename00000", "uid00000-0000", "hash00000", "10.99.99.99"
GKE = "cloud.google.com/gke-nodepool"


class Generated(Sequence[bytes]):
    """Objects that are made when they are asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        return self.make(index)

    def make(self, index: int) -> bytes:
        raise NotImplementedError


class Nodes(Generated):
    """Most are ready; one pool in ten is not, and one node in a hundred has no agent."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._templates: dict[tuple[int, bool], bytes] = {}

    def make(self, index: int) -> bytes:
        key = index // NODES_PER_POOL, index % 100 != 99
        if key not in self._templates:
            self._templates[key] = json.dumps(self.template(*key)).encode()
        name = f"node-{index:05d}".encode()
        return self._templates[key].replace(NODE.encode(), name).replace(UID.encode(), b"boot-" + name)

    def template(self, pool: int, agent: bool) -> Document:
        good = pool % 10 != 9
        labels = {GKE: f"pool-{pool}", LABEL: str(good).lower(), "topology.kubernetes.io/zone": f"zone-{pool % 3}"}
        report = (objects.ready() if good else objects.not_ready()) if agent else None
        return objects.node(NODE, labels=labels, boot=UID, annotations=objects.published(report, UID) if report else {})


class Pods(Generated):
    """DaemonSets on every node, then Deployments, StatefulSets with claims, and Jobs."""

    def __init__(self, count: int, nodes: int) -> None:
        super().__init__(count)
        self._nodes = nodes
        self._daemons = min(DAEMONSETS * nodes, count // 2)
        self._template: tuple[int, bytes] = (-1, b"")

    def make(self, index: int) -> bytes:
        if index < self._daemons:
            workload, node = index // self._nodes, index % self._nodes
            key = -2 - workload
        else:
            workload, node = (index - self._daemons) // PER_WORKLOAD, (index * 7919) % self._nodes
            key = workload
        if self._template[0] != key:
            made = self.daemon(workload) if index < self._daemons else self.workload(workload)
            self._template = key, json.dumps(made).encode()
        number = f"{index:012d}".encode()
        return (
            self._template[1]
            .replace(NAME.encode(), number)
            .replace(NODE.encode(), f"node-{node:05d}   ".strip().encode())
            .replace(UID.encode(), b"u" + number)
            .replace(ADDRESS.encode(), f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}".encode())
        )

    def daemon(self, workload: int) -> Document:
        name = f"daemon-{workload}"
        fields = [{"key": "metadata.name", "operator": "In", "values": [NODE]}]
        affinity = {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": fields}]}
            }
        }
        spec: Document = {"hostNetwork": True} if workload % 2 else {}
        made = pod(
            f"{name}-{NAME}",
            "kube-system",
            controller=owner("DaemonSet", name, namespace="kube-system"),
            node=NODE,
            affinity=affinity,
            volumes=[{"name": "run", "hostPath": {"path": "/run"}}],
            **spec,
        )
        return self._own(made)

    def workload(self, workload: int) -> Document:
        kind, namespace = KINDS[workload % len(KINDS)], f"team-{workload % 400}"
        name = f"app-{workload}"
        spec: Document = {"hostUsers": False, "nodeSelector": {LABEL: "true"}} if workload % 5 == 0 else {}
        controller, labels = owner(kind, name, namespace=namespace), {}
        volumes: list[Document] = [{"name": f"{name}-settings", "configMap": {"name": f"{name}-settings"}}]
        if kind == "Deployment":
            revision = f"{workload:08x}ab"[-10:]
            controller, labels = (
                owner("ReplicaSet", f"{name}-{revision}", namespace=namespace),
                {"pod-template-hash": revision},
            )
        elif kind == "StatefulSet":
            volumes += [{"name": "data", "persistentVolumeClaim": {"claimName": f"data-{name}-{NAME}"}}]
        else:
            controller = owner("Job", name, "batch/v1", namespace)
        made = pod(
            f"{name}-{NAME}", namespace, controller=controller, node=NODE, labels=labels, volumes=volumes, **spec
        )
        return self._own(made)

    def _own(self, made: Document) -> Document:
        """What differs between any two Pods, as placeholders, and names that differ between workloads."""
        made["metadata"]["uid"] = UID
        name = made["metadata"]["ownerReferences"][0]["name"]
        made["spec"]["containers"][0]["name"] = made["spec"]["serviceAccountName"] = name
        made["status"] |= {"podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}
        return made


class ReplicaSets(Generated):
    """Metadata of all revisions of all Deployments."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        above = owner("Deployment", NAME, namespace="above")
        meta = objects.metadata(f"{NAME}-{HASH}", NODE, ownerReferences=[above], labels={"pod-template-hash": HASH})
        meta |= {"uid": UID, "managedFields": [{"manager": "kube-controller-manager", "fieldsV1": {}}]}
        self._template = json.dumps({"metadata": meta}).encode()

    def make(self, index: int) -> bytes:
        workload, revision = index // REVISIONS, index % REVISIONS
        namespace, name = f"team-{workload % 400}", f"app-{workload}"
        suffix = f"{workload:08x}ab"[-10:] if revision == 0 else f"{revision:010d}"
        uid = objects.uid(namespace, f"{name}-{suffix}") if revision == 0 else f"old-{index:012d}"
        found = self._template.replace(NAME.encode(), name.encode()).replace(HASH.encode(), suffix.encode())
        return found.replace(NODE.encode(), namespace.encode()).replace(UID.encode(), uid.encode())


class Namespaces(Generated):
    def make(self, index: int) -> bytes:
        labels = {"pod-security.kubernetes.io/enforce": ("baseline", "restricted")[index % 2]}
        return json.dumps({"metadata": objects.metadata(f"team-{index}", labels=labels)}).encode()


def large(nodes: int, pods: int) -> ListServer:
    """The API server of a cluster of that size."""
    made = Pods(pods, nodes)
    workloads = (pods - made._daemons) // PER_WORKLOAD + 1
    server = ListServer(
        {
            "/api/v1/nodes": ("Node", Nodes(nodes)),
            "/api/v1/pods": ("Pod", made),
            "/api/v1/namespaces": ("Namespace", Namespaces(400)),
            "/apis/apps/v1/replicasets": ("ReplicaSet", ReplicaSets(workloads * REVISIONS)),
        },
        {
            "/version": {"gitVersion": "v1.36.2"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {
                "kind": "APIResourceList",
                "groupVersion": "v1",
                "resources": [
                    {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]}
                ],
            },
        },
    )
    server.headers["Date"] = HTTP_NOW
    server.keep_requests = server.select = False
    return server


@contextmanager
def serving_large(folder: Path, nodes: int, pods: int) -> Iterator[Path]:
    """A kubeconfig for such a server, which is a process of its own."""
    command = [sys.executable, "-m", "lab.fleet.scale", str(folder), str(nodes), str(pods)]
    with Popen(command, cwd=Path(__file__).parents[2], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"serving\n"
        try:
            yield folder / "kubeconfig"
        finally:
            process.stdin.close()


def main() -> None:
    folder, nodes, pods = sys.argv[1:]
    with serving(large(int(nodes), int(pods)), Path(folder)):
        sys.stdout.write("serving\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
