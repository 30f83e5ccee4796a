"""What an agent that is gone left behind is retracted; what a running one says stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.serve.api_double import ApiDouble, Fault, Refuse, Reset
from lab.serve.api_store import Request, condition_of
from lab.serve.publishing import NODE, World
from probe.publish.api.client import PAGE
from probe.publish.api.interface import Access
from probe.publish.desired import render_time
from probe.publish.prune import Pruned, exit_code, render_pruned
from probe.publish.stale import SETTLED, prune_stale
from tests.publish.test_publish_prune import LABEL, Outside, Waits, admin, lists, outside

__all__ = ("outside",)  # a fixture

NOW, HOUR, DAY = 1_790_000_000.0, 3600.0, 86400.0
BOOT, OTHER_BOOT = "b00t", "0ther"


@pytest.fixture
def access(api: ApiDouble, tmp_path: Path) -> Access:
    """An administrator's, of a cluster with one Node of which nothing is published."""
    found = admin(api, tmp_path)
    api.store.nodes[NODE]["status"] = status()
    return found


def status(boot_id: str = BOOT, beat: float | None = NOW) -> dict[str, Any]:
    """What the kubelet says, with its last heartbeat."""
    ready = {"type": "Ready", "status": "True"} | ({} if beat is None else {"lastHeartbeatTime": render_time(beat)})
    return {"conditions": [ready], "nodeInfo": {"bootID": boot_id}}


def add(
    api: ApiDouble, name: str, *, age: float | None = 0.0, boot_id: str = BOOT, beat: float | None = NOW
) -> dict[str, Any]:
    """A Node with label, condition and annotations, refreshed so long ago, of that boot."""
    node = api.add_node(name)
    annotations = {"verdict": "ready", "boot-id": boot_id}
    annotations |= {} if age is None else {"refreshed-at": render_time(NOW - age)}
    node["metadata"]["annotations"] |= {f"userns-probe.io/{key}": text for key, text in annotations.items() if text}
    node["metadata"]["labels"][LABEL] = "true"
    node["status"] = status(beat=beat)
    node["status"]["conditions"].append({"type": "UserNamespacesReady", "status": "True"})
    return node


def pruned(access: Access, waits: Waits | None = None, clock: float = NOW) -> list[Pruned]:
    return list(prune_stale(access, DAY, (waits or Waits()).retries, lambda: clock))


def says(api: ApiDouble, name: str) -> tuple[bool, bool]:
    """Whether the Node has the label, and the condition."""
    node = api.store.nodes[name]
    return LABEL in node["metadata"]["labels"], condition_of(node) is not None


def test_what_nobody_refreshes_is_retracted(api: ApiDouble, access: Access) -> None:
    """Label and condition go; the annotations, which say of when they are, and all of others stay."""
    before = add(api, "gone", age=DAY + 1)["metadata"]["annotations"].copy()
    add(api, "fine", age=DAY - 1)
    results = pruned(access)
    line = f"gone: removed label {LABEL}, condition UserNamespacesReady (they were last refreshed at "
    assert [render_pruned(one)[: len(line)] for one in results] == [line]
    assert exit_code(results) == 0
    assert (says(api, "gone"), says(api, "fine")) == ((False, False), (True, True))
    node = api.store.nodes["gone"]
    assert node["metadata"]["annotations"] == before
    assert node["metadata"]["labels"] == {"kubernetes.io/hostname": "gone"}
    assert condition_of(node, "Ready")
    assert pruned(access) == []


def test_what_is_of_another_boot_is_retracted(api: ApiDouble, access: Access) -> None:
    """However new it is; without the Node's own boot id nothing is known of it."""
    add(api, "rebooted", boot_id=OTHER_BOOT)
    add(api, "untold", boot_id=OTHER_BOOT)["status"]["nodeInfo"] = {}
    results = pruned(access)
    assert [one.node for one in results] == ["rebooted"]
    assert OTHER_BOOT in results[0].reason
    assert BOOT in results[0].reason
    assert (says(api, "rebooted"), says(api, "untold")) == ((False, False), (True, True))


@pytest.mark.parametrize(("ago", "retracted"), [(SETTLED - 60, False), (SETTLED + 60, True)])
def test_a_node_that_just_booted_keeps_its_label(api: ApiDouble, access: Access, ago: float, retracted: bool) -> None:
    """Its agent is about to speak: a label taken away meanwhile lets the kubelet refuse Pods that ran before."""
    (ready, _) = add(api, "booting", boot_id=OTHER_BOOT)["status"]["conditions"]
    ready["lastTransitionTime"] = render_time(NOW - ago)
    assert [one.node for one in pruned(access)] == ["booting"] * retracted
    assert says(api, "booting") == (not retracted, not retracted)


@pytest.mark.parametrize(("label", "condition"), [(True, False), (False, True)])
def test_each_is_retracted_for_itself(api: ApiDouble, access: Access, label: bool, condition: bool) -> None:
    """One request for what is there; a condition without annotations has its own time."""
    node = add(api, "gone", age=2 * DAY)
    if not label:
        del node["metadata"]["labels"][LABEL]
        node["metadata"]["annotations"] = {}
        node["status"]["conditions"][1]["lastHeartbeatTime"] = render_time(NOW - 2 * DAY)
    if not condition:
        del node["status"]["conditions"][1]
    (result,) = pruned(access)
    assert (bool(result.labels), result.condition) == (label, condition)
    assert api.store.writes == 1


@pytest.mark.parametrize("text", [None, "", "yesterday", "9" * 5000])
def test_what_tells_no_time_is_left_and_named(api: ApiDouble, access: Access, text: str | None) -> None:
    """Nobody can say how old it is, so it counts as nothing: an administrator is told."""
    node = add(api, "edited", age=None)
    if text is not None:
        node["metadata"]["annotations"]["userns-probe.io/refreshed-at"] = text
    results = pruned(access)
    assert [render_pruned(one) for one in results] == [
        "edited: nothing to remove (neither refreshed-at nor boot-id shows how old label and condition are)"
    ]
    assert exit_code(results) == 0
    assert says(api, "edited") == (True, True)
    node["metadata"]["annotations"]["userns-probe.io/boot-id"] = OTHER_BOOT
    assert pruned(access)[0].labels


def test_a_clock_that_is_ahead_retracts_nothing(api: ApiDouble, access: Access) -> None:
    """By this machine's clock everything is old, and by the kubelets' nothing is."""
    add(api, "a", age=HOUR)
    add(api, "b", age=5 * HOUR, beat=NOW - 300)
    assert pruned(access, clock=NOW + 30 * DAY) == []
    api.store.nodes["a"]["status"] = status(beat=NOW + 30 * DAY)
    assert pruned(access) == [], "a kubelet's clock that is ahead makes nothing old either"
    add(api, "gone", age=2 * DAY)
    assert [one.node for one in pruned(access)] == ["gone"]


def test_no_heartbeat_is_no_obstacle(api: ApiDouble, access: Access) -> None:
    """Then this machine's clock alone counts."""
    for name in (NODE, "gone"):
        if name == "gone":
            add(api, name, age=2 * DAY, beat=None)
        else:
            api.store.nodes[name]["status"] = status(beat=None)
    assert [one.node for one in pruned(access)] == ["gone"]


class Refreshed(Fault):
    """The agent is back, and writes its Node after this request was answered."""

    def answer(self, server: ApiDouble, request: Request) -> Any:
        answer = server.store.answer(request)
        metadata = server.store.nodes["back"]["metadata"]
        metadata["annotations"]["userns-probe.io/refreshed-at"] = render_time(NOW)
        metadata["resourceVersion"] = "77"
        return answer


@pytest.mark.parametrize("after", ["the list", "the read of the Node"])
def test_an_agent_that_is_back_is_not_overruled(api: ApiDouble, access: Access, after: str) -> None:
    """It may write at any moment between the look at its Node and the removal."""
    add(api, "back", age=2 * DAY)
    api.faults += [Refreshed()] if after == "the list" else [Fault(), Refreshed()]
    results = pruned(access)
    assert [(one.labels, one.condition, one.problem) for one in results] == [((), False, "")]
    assert says(api, "back") == (True, True)
    assert api.store.writes == 0


def test_a_node_that_changes_for_other_reasons_is_tried_again(api: ApiDouble, access: Access) -> None:
    """Kubelets write their Nodes all the time."""
    add(api, "gone", age=2 * DAY)
    conflict = Refuse(409, "Conflict", "the object has been modified")
    api.faults += [Fault(), Fault(), conflict, Fault(), Fault(), conflict]
    (result,) = pruned(access)
    assert (result.condition, result.problem) == (True, "")
    assert says(api, "gone") == (False, False)
    add(api, "busy", age=2 * DAY)
    api.faults += [Fault(), *[Fault(), conflict] * 5]
    (result,) = pruned(access)
    assert result.problem.startswith("Conflict: ")
    assert exit_code([result]) == 1


@pytest.mark.slow
def test_all_pages_are_read_before_anything_is_written(api: ApiDouble, access: Access) -> None:
    """A page that fails is asked for again; each Node is told once, and one that fails holds up no other."""
    for index in range(2 * PAGE + 7):
        add(api, f"node-{index:03}", age=DAY + index - 100)
    waits = Waits()
    api.faults += [Fault(), Refuse(503, "", ""), Reset(granted=True)]
    results = pruned(access, waits)
    assert [one.node for one in results] == [f"node-{index:03}" for index in range(101, 2 * PAGE + 7)]
    assert exit_code(results) == 0
    assert lists(api)[:2] == [None, str(PAGE)]
    first = next(index for index, one in enumerate(api.requests) if one.method != "GET")
    assert all(one.method != "GET" or one.path != "/api/v1/nodes" for one in api.requests[first:])


def test_a_node_that_goes_away_meanwhile_is_no_problem(api: ApiDouble, access: Access) -> None:
    """An autoscaler took it."""
    add(api, "gone", age=2 * DAY)

    class Gone(Fault):
        def answer(self, server: ApiDouble, request: Request) -> Any:
            answer = server.store.answer(request)
            del server.store.nodes["gone"]
            return answer

    api.faults += [Gone()]
    assert [(one.node, one.problem) for one in pruned(access)] == [("gone", "")]


def test_least_rights_suffice(api: ApiDouble, access: Access) -> None:
    """Those of deploy/stale: list, get and patch of Nodes, patch of their status; without that the label still goes."""
    api.store.rules = {("list", "nodes"), ("get", "nodes"), ("patch", "nodes"), ("patch", "nodes/status")}
    add(api, "gone", age=2 * DAY)
    assert exit_code(pruned(access)) == 0
    api.store.rules -= {("patch", "nodes/status")}
    add(api, "half", age=2 * DAY)
    (result,) = pruned(access)
    assert "nodes/status" in result.problem
    assert says(api, "half") == (False, True)


@pytest.mark.parametrize("metadata", [None, [], {"annotations": 1, "labels": [LABEL]}, {"labels": {LABEL: 5}}])
def test_whatever_the_server_lists(api: ApiDouble, access: Access, metadata: Any) -> None:
    """A malformed Node has nothing that could be stale, and keeps no other from being judged."""
    node = add(api, "odd", age=2 * DAY)
    node["metadata"] = {"name": "odd", "resourceVersion": "1"} | (metadata if isinstance(metadata, dict) else {})
    node["status"] = metadata
    add(api, "sane", age=2 * DAY)
    assert [one.node for one in pruned(access) if one.labels] == ["sane"]


def test_what_the_publisher_writes_is_judged(world: World, api: ApiDouble, tmp_path: Path) -> None:
    """Whichever parts carry the label or the condition, their age and boot are told on the Node."""
    for parts in (("label",), ("condition",), ("annotations", "label", "condition")):
        world.restart(*parts)
        world.probe("ready")
        world.settle()
        api.store.nodes[NODE]["status"]["nodeInfo"] = {"bootID": world.said("boot-id") or BOOT}
        found = admin(api, tmp_path)
        assert list(prune_stale(found, DAY, Waits().retries, lambda: world.wall)) == [], parts
        (result,) = prune_stale(found, DAY, Waits().retries, lambda: world.wall + 2 * DAY)
        assert (bool(result.labels), result.condition) == ("label" in parts, "condition" in parts)
        api.store.policy, api.store.tokens = "up", {"token-1"}


@pytest.mark.slow
def test_the_command(api: ApiDouble, outside: Outside) -> None:
    """It says what it did, and refuses an age at which running agents look stale."""
    add(api, "gone", age=2 * DAY)
    code, said = outside.run("--stale", "24h", NODE_NAME="a")
    assert (code, said.startswith("gone: removed label")) == (0, True)
    assert outside.run("--stale", "24h") == (0, "no Node has anything stale\n")
    asked = len(api.requests)
    for options in (
        ("--stale", "11h"),
        ("--stale", "1d"),
        ("--stale", "24h", "--all"),
        ("--stale", "24h", "--node-name", "a"),
    ):
        code, said = outside.run(*options)
        assert code == 64, said
    assert len(api.requests) == asked
