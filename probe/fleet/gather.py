"""Reads a cluster, section by section. A section that cannot be read is reported, and costs no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct, field

from probe.fleet import wire, wire_nodes
from probe.fleet.empty import Empty, NodeGroups, of_cluster_api, of_karpenter
from probe.fleet.fold import Fold
from probe.fleet.inventory import Section
from probe.fleet.kinds import BINDINGS, POLICIES
from probe.fleet.nodes import Nodes
from probe.fleet.owners import Owners
from probe.fleet.policies import FIELD, Bindings, Document
from probe.fleet.reach import stranded
from probe.fleet.server import METADATA, Expired, Listing, Server
from probe.fleet.volumes import Volumes, classes_of
from probe.outputs.labels import shown
from probe.pod.model import Claim
from probe.publish.api.errors import explain_failure
from probe.publish.api.interface import NO_CREDENTIALS, Failure

NODES_PAGE = 250
"""Nodes of a page: each has 15 to 40 kB."""
UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
CORE, APPS, BATCH = "/api/v1", "/apis/apps/v1", "/apis/batch/v1"

CLUSTER_API = tuple(
    (kind, tuple(f"/apis/cluster.x-k8s.io/{version}/{kind.lower()}s" for version in ("v1beta2", "v1beta1")))
    for kind in ("MachineDeployment", "MachineSet", "MachinePool")
)
AUTOSCALER = "cluster-autoscaler-status"
NODE_POOLS = ("/apis/karpenter.sh/v1/nodepools", "/apis/karpenter.sh/v1beta1/nodepools")

T = TypeVar("T")
Progress = Callable[[str, int, int | None], None]
"""(section, objects read, remaining ones or None)."""


class _Sink(Protocol):
    def add(self, objects: Any, /) -> None: ...


S = TypeVar("S", bound=_Sink)


class Kept(Generic[T]):
    """Objects that are few enough to be kept."""

    def __init__(self) -> None:
        self.objects: list[T] = []

    def add(self, objects: list[T]) -> None:
        """Keep a page."""
        self.objects += objects


class Mentions:
    """Policies that mention `hostUsers`."""

    def __init__(self) -> None:
        self.documents: list[Document] = []

    def add(self, objects: list[msgspec.Raw]) -> None:
        """Decode those of a page that mention it."""
        self.documents += [msgspec.json.decode(one, type=Document) for one in objects if FIELD in bytes(one)]


class Cluster(Struct, kw_only=True):
    """Everything that was read, folded."""

    server_version: str = ""
    nodes: Nodes
    fold: Fold
    owners: Owners
    handlers: dict[str, str] | None = None
    classes: dict[str, Claim] = field(default_factory=dict)
    namespaces: list[wire.Meta] = field(default_factory=list)
    policies: list[tuple[str, Document]] = field(default_factory=list)
    bindings: dict[str, Bindings] = field(default_factory=dict)
    empty: list[Empty] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


class Reader:
    """Reads the sections of a cluster, one list after the other."""

    def __init__(self, server: Server, progress: Progress) -> None:
        self._server, self._progress = server, progress
        self.sections: list[Section] = []

    def read(self, name: str, paths: Iterable[str], item: type[T], make: Callable[[], S], **how: Any) -> S:
        """The result of *make*, with the objects of the first of *paths* that is served added.

        *Errors*: Failure, when there are no credentials.
        """
        section = Section(name=name, state="not-served")
        for path in paths:
            section, sink = self._read(name, path, item, make, how)
            if section.state != "not-served":
                break
        self.sections.append(section)
        return sink

    def _read(
        self, name: str, path: str, item: type[T], make: Callable[[], S], how: dict[str, Any]
    ) -> tuple[Section, S]:
        for last in (False, True):
            sink, listing, problem = make(), Listing(path=path), ""
            try:
                for page in self._server.pages(listing, item, progress=self._told(name), **how):
                    sink.add(page)
            except Expired:
                if not last:
                    continue
                problem = "its pages expired twice, and the API server gave no token to continue"
            except Failure as failure:
                if failure.reason == NO_CREDENTIALS:
                    raise
                if failure.status == 404:
                    return Section(name=name, state="not-served"), sink
                problem = problem_of(failure)
            break
        return _section(name, listing, problem), sink

    def _told(self, name: str) -> Callable[[int, int | None], None]:
        return lambda done, left: self._progress(name, done, left)


def gather(server: Server, now: float, pool_label: str, namespace: str, progress: Progress) -> Cluster:
    """Read a cluster. *namespace*: the only one whose workloads are read; empty: all. *Errors*: Failure."""
    reader = Reader(server, progress)
    read = reader.read
    within = f"/namespaces/{namespace}" if namespace else ""
    nodes = read("nodes", (f"{CORE}/nodes",), wire_nodes.Node, lambda: Nodes(now, pool_label), limit=NODES_PAGE)
    nodes.complete = reader.sections[-1].state == "read"
    runtime_classes = read(
        "runtimeclasses", ("/apis/node.k8s.io/v1/runtimeclasses",), wire.RuntimeClass, Kept[wire.RuntimeClass]
    )
    storage_classes = read(
        "storageclasses", ("/apis/storage.k8s.io/v1/storageclasses",), wire.StorageClass, Kept[wire.StorageClass]
    )
    volumes = read("persistentvolumes", (f"{CORE}/persistentvolumes",), wire.PersistentVolume, Volumes)
    fold = read(
        "pods",
        (f"{CORE}{within}/pods",),
        wire.Pod,
        lambda: Fold(nodes.group_of, volumes, partial(stranded, nodes.places)),
        selector=UNFINISHED,
    )
    volumes.clear()
    owners = Owners(fold.controllers)
    for name, path in (("replicasets", f"{APPS}{within}/replicasets"), ("jobs", f"{BATCH}{within}/jobs")):
        read(name, (path,), wire.OwnedObject, lambda: owners, accept=METADATA)
    selector = f"metadata.name={namespace}" if namespace else ""
    namespaces = read(
        "namespaces", (f"{CORE}/namespaces",), wire.Object, Kept[wire.Object], accept=METADATA, selector=selector
    )
    policies = [
        (kind, document)
        for kind, paths in POLICIES
        for document in read(paths[0].rpartition("/")[2], paths, msgspec.Raw, Mentions).documents
    ]
    bindings = {}
    for kind, paths in BINDINGS:
        found = read(paths[0].rpartition("/")[2], paths, Document, Kept[Document]).objects
        bindings[kind] = Bindings(found, complete=reader.sections[-1].state in ("read", "not-served"))
    empty = empty_pools(reader, nodes)
    known = next((section.state == "read" for section in reader.sections if section.name == "runtimeclasses"), False)
    return Cluster(
        nodes=nodes,
        fold=fold,
        owners=owners,
        handlers={one.metadata.name: one.handler for one in runtime_classes.objects} if known else None,
        classes=classes_of(storage_classes.objects, volumes.unclaimed),
        namespaces=[one.metadata for one in namespaces.objects],
        policies=policies,
        bindings=bindings,
        empty=empty,
        sections=reader.sections,
    )


def empty_pools(reader: Reader, nodes: Nodes) -> list[Empty]:
    """Pools of size 0, as far as the API shows them. Machines are read unless no Node is of Cluster API."""
    found = reader.read("nodepools", NODE_POOLS, wire_nodes.NodePool, Kept[wire_nodes.NodePool]).objects
    pools = [*of_karpenter(found, nodes)]
    known = all(section.state == "read" for section in reader.sections if section.name == "nodes")
    for kind, paths in () if known and not nodes.clusters else CLUSTER_API:
        machines = reader.read(f"{kind.lower()}s", paths, wire_nodes.Machines, Kept[wire_nodes.Machines]).objects
        pools += of_cluster_api(kind, machines, nodes)
    path, selector = f"{CORE}/namespaces/kube-system/configmaps", f"metadata.name={AUTOSCALER}"
    return pools + reader.read(AUTOSCALER, (path,), wire_nodes.ConfigMap, NodeGroups, selector=selector).empty


def problem_of(failure: Failure) -> str:
    """*failure* in one line: the missing right, or what the server said."""
    told = explain_failure(failure, "")
    rule = told.get("missing_rule")
    if isinstance(rule, dict):
        where = f" in the namespace {told['namespace']}" if "namespace" in told else ""
        return f"no right to {rule['verbs'][0]} {rule['resources'][0]}{where}"
    return shown(f"{told['problem']}: {failure.message}", 500)


def read_version(server: Server) -> str:
    """The API server's version; empty when it does not tell. *Errors*: Failure, without credentials or API server."""
    try:
        return shown(msgspec.json.decode(server.get("/version"), type=wire.Version).git_version, 60)
    except (msgspec.DecodeError, RecursionError):
        return ""
    except Failure as failure:
        if not failure.status:
            raise
        return ""


def _section(name: str, listing: Listing, problem: str) -> Section:
    words = f"{listing.skipped} objects could not be decoded" if listing.skipped else ""
    if problem and not listing.objects:
        return Section(name=name, state="unknown", problem=problem)
    return Section(
        name=name,
        state="partial" if problem or words else "read",
        objects=listing.objects,
        skipped=listing.skipped,
        problem="; ".join(filter(None, (problem, words))),
        resource_versions=tuple(shown(one, 40) for one in listing.resource_versions),
    )
