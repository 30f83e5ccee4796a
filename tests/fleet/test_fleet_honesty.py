"""Small clusters that look better than they are: the inventory does not say so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert

from lab.fleet import cluster
from lab.fleet.cluster import CONFINED, GKE, KARPENTER, daemon, replicas
from lab.fleet.objects import Document, managed, metadata, node, not_ready, owner, pod, published, ready, uid
from lab.fleet.server import Documents, ListServer, Trouble, serving
from probe.cli.fleet import progress_line
from probe.fleet import wire
from probe.fleet.inventory import Inventory, section_of
from probe.fleet.rows import EnforceRow, WorkloadRow
from probe.fleet.server import EXPIRIES
from probe.fleet.take import Options
from probe.fleet.take import take as probe_take
from probe.fleet.volumes import classes_of
from probe.outputs.annotations import LABEL, PREFIX
from probe.publish.api.interface import Access
from tests.fleet.conftest import taking

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
Take = Callable[..., Inventory]


@pytest.fixture
def take(tmp_path: Path) -> Take:
    """The inventory of a cluster of the given objects."""

    def take_now(
        nodes: list[Document],
        pods: list[Document],
        lists: dict[str, tuple[str, list[Document]]] | None = None,
        prepare: Callable[[ListServer], object] = lambda server: None,
        **options: str,
    ) -> Inventory:
        server = cluster.small()
        for path, (kind, documents) in (
            {"/api/v1/nodes": ("Node", nodes), "/api/v1/pods": ("Pod", pods)} | (lists or {})
        ).items():
            server.lists[path] = (kind, Documents(documents))
        prepare(server)
        with taking(server, tmp_path) as taken:
            return taken(**options)

    return take_now


def good(index: int = 0, **more: Any) -> Document:
    return node(f"gen-{index}", ready(), labels={GKE: "general", LABEL: "true"}, **more)


def row(inventory: Inventory, name: str) -> WorkloadRow:
    (found,) = (each for each in inventory.workloads if each.name == name)
    return found


def safety(inventory: Inventory, of: str, name: str) -> EnforceRow:
    (found,) = (each for each in inventory.enforcement if (each.of, each.name) == (of, name))
    return found


@pytest.mark.parametrize("verdict", ["not-ready", "unknown"])
def test_levels_that_are_better_than_the_verdict(take: Take, verdict: str) -> None:
    """They give no verdict: nothing runs isolated there."""
    own = published(not_ready(), uid("boot", "gen-0"))
    own |= {f"{PREFIX}verdict": verdict, f"{PREFIX}levels": "stateless=ready,projected=ready,local=ready"}
    host = node("gen-0", annotations=own, labels={GKE: "general"})
    found = take([host], replicas("isolated", "shop", 2, ["gen-0"], hostUsers=False))
    assert (found.nodes[0].agent, found.nodes[0].verdict) == ("malformed", "unknown")
    assert (found.summary.running_isolated, row(found, "isolated").list) == (0, "asked-unknown")


def test_levels_of_another_field_manager(take: Take) -> None:
    """A verdict of the agent and levels of kubectl: neither counts."""
    own = published(not_ready(), uid("boot", "gen-0"))
    levels = {f"{PREFIX}levels": "stateless=ready,projected=ready,local=not-ready"}
    host = node("gen-0", annotations=own | levels, labels={GKE: "general"})
    kept = {key: value for key, value in own.items() if key not in levels}
    host["metadata"]["managedFields"] = [*managed("userns-probe", kept), *managed("kubectl-annotate", levels)]
    found = take([host], replicas("isolated", "shop", 2, ["gen-0"], hostUsers=False))
    assert (found.nodes[0].agent, found.summary.running_isolated) == ("foreign", 0)


def test_one_namespace_says_nothing_of_a_pool(take: Take) -> None:
    """A DaemonSet of another namespace would break: with --namespace the pool is unknown, and the namespace is not."""
    pods = [*replicas("movable", "shop", 2, ["gen-0"]), *daemon("cni", "kube-system", ["gen-0"], hostNetwork=True)]
    whole, part = take([good()], pods), take([good()], pods, namespace="shop")
    assert safety(whole, "pool", "general").safe == "no"
    assert safety(part, "pool", "general").safe == "unknown"
    assert "shop" in safety(part, "pool", "general").unknown[0].message
    assert safety(part, "namespace", "shop").safe == safety(whole, "namespace", "shop").safe == "yes"


@pytest.mark.parametrize(
    ("host", "safe", "reason"),
    [
        (node("old-0", not_ready(), labels={GKE: "general", LABEL: "true"}), "no", "SelectedNotReady"),
        (good(1, ago=timedelta(days=2)), "unknown", "SelectedUnknown"),
    ],
)
def test_a_label_that_is_wrong(take: Take, host: Document, safe: str, reason: str) -> None:
    """Confined by a label that a node has without being ready: not safe, and the reason is not `NotConfined`."""
    found = take([good(), host], replicas("movable", "shop", 2, ["gen-0"], nodeSelector=CONFINED))
    answer = safety(found, "namespace", "shop")
    assert (answer.safe, (answer.breaks or answer.unknown)[0].reason) == (safe, reason)


@pytest.mark.slow
def test_no_selector_on_a_label_that_no_node_has(take: Take) -> None:
    """A selector that leaves all Pods Pending is no advice; with one labelled node that runs them it is."""
    bare, old = node("gen-0", ready(), labels={GKE: "general"}), node("old-0", not_ready(), labels={GKE: "general"})
    pods = replicas("movable", "shop", 2, ["gen-0"])
    found = row(take([bare, old], pods), "movable")
    assert (found.list, found.needs, found.because[0].reason) == ("unknown", (), "LabelNotTrue")
    assert safety(take([bare, old], pods), "namespace", "shop").safe == "no"
    offered = row(take([good(), old], pods), "movable")
    assert offered.list == "movable"
    assert any(LABEL in text for text in offered.needs)
    stuck = node("old-0", not_ready(), labels={GKE: "general", LABEL: "true"})
    assert row(take([bare, stuck], pods), "movable").list == "unknown"


def volume(name: str, term: Document) -> Document:
    required = {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}}
    claim = {"namespace": "shop", "name": name}
    csi = {"driver": "ebs.csi.aws.com", "fsType": "ext4"}
    spec = {"accessModes": ["ReadWriteOnce"], "claimRef": claim, "csi": csi, "nodeAffinity": required}
    return {"metadata": metadata(name), "spec": spec}


@pytest.mark.parametrize("key", ["zone", "kubernetes.io/hostname"])
def test_a_volume_keeps_its_pod_where_it_is(take: Take, key: str) -> None:
    """Only nodes that the PersistentVolume's required affinity admits can be reached."""
    hosts = [
        node("a-0", ready(), labels={LABEL: "true", "zone": "a-0"}),
        node("b-0", not_ready(), labels={LABEL: "false", "zone": "b-0"}),
    ]
    claim = [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]
    db = pod("db-0", "shop", node="b-0", controller=owner("StatefulSet", "db", namespace="shop"), volumes=claim)
    volumes = [volume("c", {"key": key, "operator": "In", "values": ["b-0"]})]
    found = row(take(hosts, [db], {"/api/v1/persistentvolumes": ("PersistentVolume", volumes)}), "db")
    assert (found.reachable, found.reachable_fails, found.list) == (1, 1, "blocked")


@pytest.mark.slow
def test_the_volume_of_an_ephemeral_claim(take: Take) -> None:
    """A bound one counts, whatever its class would make; of no claim, it may be that of any of its class."""
    template = {"volumeClaimTemplate": {"spec": {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"]}}}
    made = pod("p", "shop", node="gen-0", volumes=[{"name": "v", "ephemeral": template}])
    classes = [{"metadata": metadata("fast"), "provisioner": "ebs.csi.aws.com"}]
    for claim, expected in (("p-v", "blocked"), ("other", "movable"), ("", "movable")):
        spec = {"claimRef": {"namespace": "shop", "name": claim}, "nfs": {"server": "s", "path": "/"}}
        lists = {
            "/api/v1/persistentvolumes": ("PersistentVolume", [{"metadata": metadata("pv"), "spec": spec}]),
            "/apis/storage.k8s.io/v1/storageclasses": ("StorageClass", classes),
        }
        assert row(take([good()], [made], lists), "p").list == expected
    del lists["/api/v1/persistentvolumes"][1][0]["spec"]["claimRef"]
    assert row(take([good()], [made], lists), "p").list == "movable"
    lists["/api/v1/persistentvolumes"][1][0]["spec"]["storageClassName"] = "fast"
    assert row(take([good()], [made], lists), "p").list == "unknown"


def test_the_nodes_of_all_volumes_are_counted(take: Take) -> None:
    """A StatefulSet with a volume in each of two zones reaches the nodes of both, each once."""
    hosts = [node(f"{zone}-{index}", ready(), labels={"zone": zone}) for zone in "abc" for index in range(2)]
    volumes = [volume(f"c-{zone}", {"key": "zone", "operator": "In", "values": [zone]}) for zone in "aab"]
    pods = [
        pod(
            f"db-{index}",
            "shop",
            node=f"{zone}-0",
            controller=owner("StatefulSet", "db", namespace="shop"),
            volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": f"c-{zone}"}}],
        )
        for index, zone in enumerate("ab")
    ]
    found = row(take(hosts, pods, {"/api/v1/persistentvolumes": ("PersistentVolume", volumes)}), "db")
    assert (found.shapes, found.reachable) == (2, 4)


@pytest.mark.parametrize("asks", [False, None])
def test_a_revision_that_can_run_nowhere(take: Take, asks: bool | None) -> None:
    """Of two revisions one runs isolated and the other reaches no node: the workload is unknown."""
    field = {} if asks is None else {"hostUsers": asks}
    pods = [
        *replicas("rolling", "shop", 2, ["gen-0"], **field),
        *replicas("rolling", "shop", 1, [], "5f6d7c8b9", nodeSelector={"nope": "x"}, phase="Pending", **field),
    ]
    found = row(take([good()], pods), "rolling")
    assert found.list == ("unknown" if asks is None else "asked-unknown")
    assert found.because[0].reason == "NoReachableNode"


def test_bindings_that_were_not_read(take: Take) -> None:
    """They may exist: no policy without bindings "does nothing" for lack of a right."""
    path = f"{ADMISSION}/validatingadmissionpolicybindings"
    found = take([good()], [], prepare=lambda server: server.forbidden.add(path))
    rows = {one.name: one for one in found.policies if one.kind == "ValidatingAdmissionPolicy"}
    assert {one.scope for one in rows.values()} == {("bindings were not read",)}
    assert all("no binding" in one.scope[0] for one in found.policies if one.kind == "MutatingAdmissionPolicy")


def test_bindings_of_another_kind(take: Take) -> None:
    """A ValidatingAdmissionPolicyBinding does not bind the MutatingAdmissionPolicy of the same name."""
    mutation = {"applyConfiguration": {"expression": "Object{spec: Object.spec{hostUsers: false}}"}}
    policy = {"metadata": metadata("require"), "spec": {"mutations": [mutation]}}
    found = take([good()], [], {f"{ADMISSION}/mutatingadmissionpolicies": ("MutatingAdmissionPolicy", [policy])})
    scopes = {one.kind: one.scope[0] for one in found.policies if one.name == "require"}
    assert "require-all" in scopes["ValidatingAdmissionPolicy"]
    assert "no binding" in scopes["MutatingAdmissionPolicy"]


def test_the_policy_narrows_its_scope(take: Take) -> None:
    """By its own matchConstraints and matchConditions, beside the selectors of the binding."""
    policy = {
        "metadata": metadata("require"),
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"team": "blue"}},
                "resourceRules": [{"resources": ["deployments"]}],
            },
            "matchConditions": [{"name": "not-mine", "expression": "object.metadata.name != 'mine'"}],
            "validations": [{"expression": "object.spec.hostUsers == false"}],
        },
    }
    found = take([good()], [], {f"{ADMISSION}/validatingadmissionpolicies": ("ValidatingAdmissionPolicy", [policy])})
    (scope,) = (one.scope[0] for one in found.policies if one.name == "require")
    for word in ("team=blue", "kube-system", "deployments", "not-mine"):
        assert word in scope


def test_namespaced_policies_of_kyverno(take: Take) -> None:
    """They are read where they are served."""
    validations = [{"expression": "object.spec.hostUsers == false"}]
    policy = {"metadata": metadata("own", "shop"), "spec": {"validations": validations}}
    path = "/apis/policies.kyverno.io/v1beta1/namespacedvalidatingpolicies"
    found = take([good()], [], {path: ("NamespacedValidatingPolicy", [policy])})
    assert [(one.namespace, one.name, one.effect) for one in found.policies if one.kind.startswith("Namespaced")] == [
        ("shop", "own", "require")
    ]


FORBID = {"validations": [{"expression": "!has(object.spec.hostUsers)"}]}
OF_KYVERNO = {
    "rules": [
        {
            "name": "r",
            "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
            "validate": {"pattern": {"spec": {"X(hostUsers)": "null"}}},
        }
    ]
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "path", "spec", "bound", "strict"),
    [
        ("ValidatingAdmissionPolicy", ADMISSION, FORBID, {"validationActions": ["Deny"]}, "no"),
        ("ValidatingAdmissionPolicy", ADMISSION, FORBID, {"validationActions": ["Audit"]}, "yes"),
        ("ValidatingAdmissionPolicy", ADMISSION, FORBID, None, "yes"),
        (
            "ValidatingAdmissionPolicy",
            ADMISSION,
            FORBID,
            {"validationActions": ["Deny"], "matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}},
            "yes",
        ),
        (
            "ValidatingAdmissionPolicy",
            ADMISSION,
            FORBID,
            {"validationActions": ["Deny"], "matchResources": {"objectSelector": {"matchLabels": {"a": "b"}}}},
            "unknown",
        ),
        (
            "ValidatingAdmissionPolicy",
            ADMISSION,
            FORBID,
            {
                "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": {
                        "matchExpressions": [
                            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]},
                            {"key": "a", "operator": "DoesNotExist"},
                        ]
                    }
                },
            },
            "no",
        ),
        (
            "MutatingAdmissionPolicy",
            ADMISSION,
            {"mutations": [{"jsonPatch": {"expression": '[JSONPatch{op: "remove", path: "/spec/hostUsers"}]'}}]},
            {},
            "no",
        ),
        ("ClusterPolicy", "/apis/kyverno.io/v1", OF_KYVERNO, None, "yes"),
        ("ClusterPolicy", "/apis/kyverno.io/v1", OF_KYVERNO | {"validationFailureAction": "Enforce"}, None, "no"),
        ("Policy", "/apis/kyverno.io/v1", OF_KYVERNO | {"validationFailureAction": "Enforce"}, None, "yes"),
    ],
)
def test_policies_that_forbid_it(
    take: Take, kind: str, path: str, spec: Document, bound: Document | None, strict: str
) -> None:
    """Where one is in force nothing can be enforced, and where its scope is not evaluated that is unknown."""
    resource = {"ClusterPolicy": "clusterpolicies", "Policy": "policies"}.get(kind, f"{kind.lower()[:-1]}ies")
    policy = {"metadata": metadata("forbid", "shop" if kind == "Policy" else ""), "spec": spec}
    lists = {f"{path}/{resource}": (kind, [policy])}
    if kind.endswith("AdmissionPolicy"):
        binding = {"metadata": metadata("b"), "spec": {"policyName": "forbid", **(bound or {})}}
        found = [binding] if bound is not None else []
        lists[f"{path}/{kind.lower()}bindings"] = (f"{kind}Binding", found)
    inventory = take([good()], [pod("p", "shop", node="gen-0")], lists)
    assert safety(inventory, "namespace", "strict").safe == strict
    reasons = [one.reason for one in safety(inventory, "namespace", "shop").breaks]
    assert ("PolicyForbids" in reasons) == (strict == "no" or kind == "Policy")


def test_a_virtual_kubelet_by_its_taint(take: Take) -> None:
    """Its label may be anything."""
    virtual = node("v")
    virtual["spec"]["taints"] = [{"key": "virtual-kubelet.io/provider", "value": "x", "effect": "NoSchedule"}]
    (found,) = (one for one in take([virtual], []).nodes)
    assert (found.agent, found.reason) == ("not-applicable", "VirtualKubelet")


@pytest.mark.parametrize("path", ["/api/v1/pods", "/api/v1/nodes"])
def test_tokens_that_always_expire(take: Take, path: str) -> None:
    """410 with a fresh token each time: after a few the section is not read."""
    asked: list[ListServer] = []

    def expire(server: ListServer) -> None:
        asked.append(server)
        server.troubles.extend(Trouble(410, "Expired", token="fresh", path=path) for _ in range(4 * EXPIRIES))

    found = take([good()], replicas("movable", "shop", 2, ["gen-0"]), prepare=expire)
    assert section_of(found, path.rpartition("/")[2]).state == "unknown"
    assert sum(each.path == path for each in asked[0].requests) <= 2 * (EXPIRIES + 1)


def test_nodes_of_which_a_page_is_missing(take: Take) -> None:
    """No Pod is isolated or movable while there are nodes that nobody read, and it may be on one of them."""
    hosts = [*(node(f"n{index:03}", ready(), labels={LABEL: "true"}) for index in range(251)), node("z", not_ready())]
    pods = [pod("asks", "shop", node="z", hostUsers=False), pod("movable", "shop", node="n000")]
    failures = [Trouble(500, "InternalError", "no", path="/api/v1/nodes", after=int(one == 0)) for one in range(9)]
    found = take(hosts, pods, prepare=lambda server: server.troubles.extend(failures))
    assert found.summary.nodes == 250
    assert [(one.name, one.list, one.because[0].reason) for one in found.workloads] == [
        ("asks", "asked-unknown", "NodesNotRead"),
        ("movable", "unknown", "NodesNotRead"),
    ]


def test_a_replicaset_that_went_between_two_lists(take: Take) -> None:
    """Its Deployment is found by name, the other revision's by reference: one row."""
    pods = [
        *replicas("rolling", "shop", 2, ["gen-0"], hostUsers=False),
        *replicas("rolling", "shop", 3, ["gen-0"], "ffffffffff", hostUsers=False),
    ]
    found = take([good()], pods)
    assert (row(found, "rolling").pods, row(found, "rolling").resolved) == (5, "name")
    assert found.summary.workloads == 1


def test_a_karpenter_pool_with_nodes_is_not_empty(take: Take) -> None:
    """Whatever label names the pools."""
    host = node("karp-0", ready(), labels={KARPENTER: "karp", "team": "a"})
    found = take([host], [], pool_label="team")
    assert {one.name for one in found.enforcement if one.of == "pool"} == {"a", "empty", "promised", "asg-empty"}


@pytest.mark.parametrize("key", ["fsType", "fstype", "FSTYPE", "csi.storage.k8s.io/fstype"])
def test_the_file_system_of_a_class(key: str) -> None:
    """Drivers read their parameters in any case."""
    one = {"metadata": {"name": "fast"}, "provisioner": "x", "parameters": {key: "xfs"}}
    assert classes_of([convert(one, wire.StorageClass)], {})["fast"].fstype == "xfs"


@pytest.mark.slow
def test_a_filtered_list_does_not_tell_what_remains(tmp_path: Path) -> None:
    """Pods are listed with a field selector: as on a real server, progress has their count, and no share of all."""
    server = cluster.small()
    server.lists["/api/v1/pods"] = ("Pod", Documents(replicas("movable", "shop", 501, ["gen-0"])))
    told: list[tuple[str, int, int | None]] = []
    with serving(server, tmp_path) as kubeconfig:
        options = Options(access=Access(kubeconfig=str(kubeconfig), silence=10.0, deadline=30.0))
        probe_take(options, lambda *line: told.append(line))
    assert [line for line in told if line[0] == "pods"] == [("pods", 500, None), ("pods", 501, None)]
    assert "501" in progress_line("pods", 501, None, 80)
