"""Every count of the inventory, recomputed from the cluster's objects without any of its code."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from lab.fleet import cluster
from lab.fleet.cluster import AKS, EKS, GKE, HOSTILE, KARPENTER
from probe.fleet.inventory import Inventory
from probe.fleet.rows import WorkloadRow
from probe.outputs.text import visible

PODS = [pod for pod in cluster.pods() if pod["status"]["phase"] not in ("Succeeded", "Failed")]
ABOVE = {
    each["metadata"]["uid"]: each["metadata"].get("ownerReferences", [{}])[0]
    for documents in (cluster.replicasets(), cluster.jobs())
    for each in documents.documents
}
READY = {f"gen-{index}" for index in range(6)} | {"karp-0", "control-0"}
"""Nodes whose annotations are of this boot, of today, whole and their agent's, and say ready."""


def workload_of(pod: dict[str, Any]) -> tuple[str, str, str]:
    """(Namespace, kind, name), as somebody would find it with kubectl."""
    meta = pod["metadata"]
    if "kubernetes.io/config.mirror" in meta["annotations"]:
        return meta["namespace"], "StaticPod", meta["name"].removesuffix("-" + pod["spec"]["nodeName"])
    if not meta.get("ownerReferences"):
        return meta["namespace"], "Pod", meta["name"]
    owner = meta["ownerReferences"][0]
    if owner["kind"] == "ReplicaSet" and owner["uid"] not in ABOVE:
        return meta["namespace"], "Deployment", owner["name"].rsplit("-", 1)[0]
    above = ABOVE.get(owner["uid"]) or owner
    return meta["namespace"], above["kind"], above["name"]


def row(inventory: Inventory, name: str) -> WorkloadRow:
    return next(each for each in inventory.workloads if each.name == name)


def test_pods_are_counted_by_workload(inventory: Inventory) -> None:
    """Finished Pods are left out; each other Pod is in one workload, and no workload is invented."""
    pods = Counter(tuple(map(visible, workload_of(pod))) for pod in PODS)
    asking = Counter(tuple(map(visible, workload_of(pod))) for pod in PODS if pod["spec"].get("hostUsers") is False)
    assert {(each.namespace, each.kind, each.name): each.pods for each in inventory.workloads} == pods
    assert {
        key: each.asking
        for each in inventory.workloads
        if each.asking
        for key in [(each.namespace, each.kind, each.name)]
    } == asking
    assert inventory.summary.pods == len(PODS)
    assert inventory.summary.asking == asking.total()
    assert inventory.summary.workloads == len(pods)


def test_pods_are_counted_by_pool(inventory: Inventory) -> None:
    """A Pod counts for the pool of its node; one that waits, and one on a node that is gone, count apart."""
    pools = {
        each["metadata"]["name"]: next((labels[key] for key in (GKE, EKS, AKS, KARPENTER) if key in labels), None)
        for each in cluster.nodes()
        for labels in [each["metadata"]["labels"]]
    } | {"control-0": "control-plane", "virtual-0": "(none)"}
    expected: dict[tuple[str, str, str], Counter[str]] = {}
    for pod in PODS:
        node = pod["spec"].get("nodeName")
        pool = "(not scheduled)" if node is None else pools.get(node, "(unknown node)")
        expected.setdefault(tuple(map(visible, workload_of(pod))), Counter())[pool] += 1  # type: ignore[arg-type]
    found = {
        (each.namespace, each.kind, each.name): {pool.value: pool.nodes for pool in each.pools}
        for each in inventory.workloads
    }
    assert found == expected


def test_nodes_are_counted_by_pool(inventory: Inventory) -> None:
    """A node is ready when its annotations can be believed and say so, and only then."""
    names = [each["metadata"]["name"] for each in cluster.nodes()]
    assert {each.name for each in inventory.nodes if each.verdict == "ready"} == READY
    assert {each.name for each in inventory.nodes if each.verdict == "not-ready"} == {
        name for name in names if name.startswith(("old-", "win-"))
    }
    assert inventory.summary.nodes == len(names) == sum(pool.nodes for pool in inventory.pools)
    assert inventory.summary.ready == len(READY) == sum(pool.ready for pool in inventory.pools)
    assert inventory.summary.unknown == sum(name.startswith(("odd-", "virtual-")) for name in names)
    for pool in inventory.pools:
        assert pool.ready + pool.not_ready + pool.unknown == pool.nodes
        assert sum(one.nodes for one in pool.kernels) == pool.nodes


@pytest.mark.parametrize(
    ("name", "list_"),
    [
        ("isolated", "isolated"),
        ("rolling", "isolated"),
        ("affine", "asked-unknown"),
        ("doomed", "fails"),
        ("loose", "fails"),
        ("movable", "movable"),
        ("anywhere", "movable"),
        ("canary", "movable"),
        ("node-exporter", "blocked"),
        ("files", "blocked"),
        ("kube-apiserver", "blocked"),
        ("iis", "blocked"),
        ("db", "unknown"),
        ("waiting", "unknown"),
        ("burst", "unknown"),
        ("follower", "unknown"),
    ],
)
def test_the_list_of_a_workload(inventory: Inventory, name: str, list_: str) -> None:
    """What asks runs, fails or is unknown; what does not could be moved, cannot, or is unknown."""
    found = row(inventory, name)
    assert found.list == list_
    assert bool(found.asking) == (list_ in ("isolated", "fails", "asked-unknown"))
    assert bool(found.because) == (list_ in ("fails", "blocked", "unknown", "asked-unknown") or bool(found.needs))


def test_lists_are_summed_up(inventory: Inventory) -> None:
    """The summary counts the rows."""
    assert inventory.summary.lists == {
        name: sum(each.list == name for each in inventory.workloads) for name in inventory.summary.lists
    }
    assert sum(inventory.summary.lists.values()) == len(inventory.workloads)


def test_running_isolated_counts_pods_on_ready_nodes(inventory: Inventory) -> None:
    """A running Pod that asks, on a node that runs it: no more, and none whose node is unknown."""
    expected = sum(
        pod["spec"].get("hostUsers") is False
        and pod["spec"].get("nodeName") in READY
        and pod["status"]["phase"] == "Running"
        for pod in PODS
    )
    assert inventory.summary.running_isolated == expected > 0


@pytest.mark.parametrize(
    ("name", "is_confined"),
    [("isolated", True), ("affine", True), ("loose", False), ("doomed", False), ("rolling", False)],
)
def test_confined(inventory: Inventory, name: str, is_confined: bool) -> None:
    """By the selector or by every term of the required affinity; one OR term without our label is not."""
    assert row(inventory, name).confined == is_confined
    assert (
        inventory.summary.unconfined
        == sum(bool(each.asking) and not each.confined for each in inventory.workloads)
        == 3
    )


def test_reachable_nodes(inventory: Inventory) -> None:
    """Selector, taints and operating system decide, not where the Pods happen to be."""
    assert (row(inventory, "isolated").reachable, row(inventory, "doomed").reachable) == (6, 4)
    linux = [
        each
        for each in cluster.nodes()
        if not each["spec"].get("taints") and each["metadata"]["labels"]["kubernetes.io/os"] == "linux"
    ]
    anywhere = row(inventory, "anywhere")
    assert (
        anywhere.reachable
        == len(linux)
        == anywhere.reachable_runs + anywhere.reachable_fails + anywhere.reachable_unknown
    )
    assert anywhere.reachable_runs == len(READY - {"control-0"})
    assert anywhere.needs, "its Pods may land where they fail"
    assert not row(inventory, "movable").needs
    assert row(inventory, "refuses").needs, "it says hostUsers: true"
    assert row(inventory, "refuses").list == "movable"


def test_host_namespaces(inventory: Inventory) -> None:
    """Exceptions that use the node's namespaces are named."""
    expected: dict[str, set[str]] = {}
    for pod in PODS:
        for name, field in (("network", "hostNetwork"), ("pid", "hostPID"), ("ipc", "hostIPC")):
            if pod["spec"].get(field):
                expected.setdefault(workload_of(pod)[2], set()).add(name)
    assert {each.name: set(each.host_namespaces) for each in inventory.workloads if each.host_namespaces} == expected
    assert inventory.summary.host_namespaces == len(expected) == 2


def test_owners(inventory: Inventory) -> None:
    """A Rollout, a Workflow and a hostile owner are named; an orphan's Deployment is guessed by name, and says so."""
    found = {each.name: (each.kind, each.resolved) for each in inventory.workloads}
    assert found["nightly"] == ("CronJob", "owner")
    assert found["once"] == ("Job", "owner")
    assert found["canary"] == ("Rollout", "owner")
    assert found["etl-x7k2p"] == ("Workflow", "owner")
    assert found["orphan"] == ("Deployment", "name")
    assert found["kube-apiserver"] == ("StaticPod", "mirror")
    assert found[visible(HOSTILE)] == (visible(HOSTILE), "owner")


def test_namespaces(inventory: Inventory) -> None:
    """Only an enforced level pinned below 1.35 is pinned, and no label is no level."""
    found = {each.name: each for each in inventory.namespaces}
    assert len(found) == len(cluster.namespaces())
    assert [each.name for each in inventory.namespaces if each.pinned] == ["shop"]
    assert "not visible" in found["default"].enforce
    assert found["strict"].relaxed == found["windows"].relaxed != found["shop"].relaxed
    assert found["shop"].pods == sum(pod["metadata"]["namespace"] == "shop" for pod in PODS)
    assert sum(each.workloads for each in found.values()) == len(inventory.workloads)


def test_enforcement(inventory: Inventory) -> None:
    """What breaks: workloads that cannot run, DaemonSets that the label selects, Pods that a restart ends, pools."""
    found = {(each.of, each.name): each for each in inventory.enforcement}
    assert found["namespace", "strict"].safe == "yes"
    assert found["namespace", "virtual"].safe == "unknown"
    assert found["namespace", "monitoring"].safe == "no"
    reasons = {one.reason for one in found["namespace", "monitoring"].breaks}
    assert {"KilledByRestart", "DaemonSetSelected"} <= reasons
    pools = {
        "karp": "yes",
        "control-plane": "no",
        "general": "no",
        "old": "no",
        "odd": "unknown",
        "empty": "no",
        "promised": "unknown",
        "asg-empty": "unknown",
        "MachineDeployment/capi/bare": "no",
        "MachineDeployment/capi/denying": "no",
        "MachineDeployment/capi/promising": "unknown",
        "MachineSet/capi/set": "no",
    }
    assert {name: found["pool", name].safe for name in pools} == pools
    assert {name for of, name in found if of == "pool"} - set(pools) == {"(none)", "windows"}
    blocked = {
        row.name for row in inventory.workloads if row.list in ("blocked", "fails") and "general" in str(row.pools)
    }
    (cannot,) = (one for one in found["pool", "general"].breaks if one.reason == "CannotRun")
    assert cannot.what == f"{len(blocked)} workloads"


def test_one_node_was_left_behind_by_the_label(inventory: Inventory) -> None:
    """Of the two Pods of the DaemonSet, the one on the node without the label is the one that a restart ends."""
    found = next(each for each in inventory.enforcement if (each.of, each.name) == ("namespace", "monitoring"))
    killed = next(one for one in found.breaks if one.reason == "KilledByRestart")
    assert killed.message.startswith("1 ")
