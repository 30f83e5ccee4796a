"""The changes of the verdict outlive the agent, through what it wrote to the Node, and cost no request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from lab.logs import capture_logs
from lab.reports import make_facts
from lab.serve.api_store import MERGE, Request
from lab.serve.publishing import BOOT, NODE, OTHER_BOOT, World
from probe.outputs.memory import CHANGES, FACTS, LIMIT
from probe.report import Report, VerdictChange


def probe(world: World, verdict: str, minute: int, **overrides: Any) -> None:
    """A probe of this minute comes to *verdict*; `watch` knows of no report before it."""
    world.probe(verdict, boot_id=overrides.pop("boot_id", BOOT))
    assert world.source.report
    at = f"2026-11-21T21:{minute:02}:00Z"
    world.source.report = replace(world.source.report, probed_at=at, since=at, **overrides)


def said(world: World) -> Report:
    """The report that page and JSON show."""
    found = world.source.snapshot().effective
    assert found
    return found


def told(changes: tuple[VerdictChange, ...]) -> list[tuple[str | None, str, str]]:
    return [((one.at or "")[11:16], one.before.verdict, one.after.verdict) for one in changes]


def register_again(world: World, uid: str) -> None:
    """The Node is deleted, and made anew by the kubelet."""
    metadata: dict[str, Any] = world.api.store.nodes[NODE]["metadata"]
    metadata |= {"uid": uid, "annotations": {}, "managedFields": []}


def edit(world: World, key: str, text: str) -> None:
    """Somebody writes an annotation of ours with kubectl."""
    body = json.dumps({"metadata": {"annotations": {key: text}}}).encode()
    target = f"/api/v1/nodes/{NODE}?fieldManager=kubectl-annotate"
    code, _ = world.api.store.answer(Request("PATCH", target, MERGE, "token-1", body))
    assert code == 200


def test_changes_outlive_the_agent(world: World) -> None:
    """Each new agent knows when the verdict changed, from what to what, why, and what was different."""
    probe(world, "ready", 1)
    world.settle()
    world.restart()
    probe(world, "not-ready", 2)
    world.settle()
    world.restart()
    probe(world, "not-ready", 9)
    world.settle()
    report = said(world)
    assert told(report.changes) == [("21:02", "ready", "not-ready")]
    assert report.changes[0].after.reason == "TmpfsNotIdmappable"
    assert "kernel" in [one.what for one in report.changes[0].difference]
    assert report.since == "2026-11-21T21:02:00Z"
    assert report.previous
    assert report.previous.verdict == "ready"
    world.restart()
    probe(world, "ready", 10, facts=make_facts(kubelet_version="1.37.0"))
    world.settle()
    changes = json.loads(world.said("changes") or "")
    assert [one["after"]["verdict"] for one in changes] == ["not-ready", "ready"]
    assert {"what": "kubelet", "before": "1.36.2", "after": "1.37.0"} in changes[1]["difference"]


def test_the_event_says_what_changed_over_a_restart(world: World) -> None:
    """The facts of the last agent are those on the Node."""
    world.api.store.rules |= {("create", "events")}
    world.restart("annotations", "events")
    probe(world, "ready", 1)
    world.settle()
    world.restart()
    probe(world, "not-ready", 2)
    world.settle()
    (event,) = world.api.store.events.values()
    assert "changed: kernel from 6.12.38+deb13-amd64 to 6.1.0-44-amd64" in event["message"]


def test_history_is_written_with_what_changes_and_never_alone(world: World) -> None:
    """An upgrade that changes no answer, or a verdict that is held back, is no request; the next write has it."""
    probe(world, "ready", 1)
    world.settle()
    asked, written = len(world.api.requests), world.said("facts")
    probe(world, "ready", 2, facts=make_facts(kernel_release="7.0"))
    world.step()
    probe(world, "unknown", 3)
    world.step()
    probe(world, "ready", 4, facts=make_facts(kernel_release="7.0"))
    world.step(400)
    assert (len(world.api.requests), world.said("facts")) == (asked, written)
    assert told(said(world).changes) == [("21:03", "ready", "unknown"), ("21:04", "unknown", "ready")]
    probe(world, "not-ready", 5)
    world.settle()
    assert [one["at"][14:16] for one in json.loads(world.said("changes") or "")] == ["03", "04", "05"]
    writes = world.writes
    for _ in range(3):
        world.restart()
        probe(world, "not-ready", 6)
        world.settle()
    assert world.writes == writes


def test_an_outage_of_the_agent_is_no_change_of_the_node(world: World) -> None:
    """While the report is expired or missing the Node says unknown, and keeps the history."""
    probe(world, "ready", 1)
    world.settle()
    probe(world, "not-ready", 2)
    world.settle()
    kept = world.said("changes"), world.said("facts")
    world.expire()
    world.settle()
    assert (world.said("verdict"), world.said("changes"), world.said("facts")) == ("unknown", *kept)
    world.restart()
    world.source.report = None
    for _ in range(4):
        world.settle()
    assert (world.said("changes"), world.said("facts")) == kept
    probe(world, "not-ready", 9)
    world.settle()
    assert told(said(world).changes) == [("21:02", "ready", "not-ready")]


@pytest.mark.parametrize("verdict", ["ready", "not-ready"])
def test_a_boot_is_part_of_the_difference(world: World, verdict: str) -> None:
    """Changes of earlier boots stay; the same answer after a boot is no change, and `since` is of this boot."""
    probe(world, "ready", 1, boot_id=OTHER_BOOT)
    world.settle()
    world.restart()
    probe(world, verdict, 2)
    world.settle()
    found = said(world).changes
    assert said(world).since == "2026-11-21T21:02:00Z"
    assert told(found) == ([] if verdict == "ready" else [("21:02", "ready", "not-ready")])
    assert not found or found[0].difference[0].what == "boot"


def test_a_node_that_was_registered_again(world: World) -> None:
    """The annotations went with the Node: the agent that lives on writes what it knows, a new one begins anew."""
    world.pace = replace(world.pace, look=600.0)
    world.restart()
    probe(world, "ready", 1)
    world.settle()
    probe(world, "not-ready", 2)
    world.settle()
    register_again(world, "another")
    world.kubelet += 1
    probe(world, "not-ready", 3)
    world.step()
    world.now += 1.3 * world.pace.look
    world.step()
    world.step()
    assert [one["at"][14:16] for one in json.loads(world.said("changes") or "")] == ["02"]
    register_again(world, "a third")
    world.restart()
    probe(world, "not-ready", 3)
    world.settle()
    assert (said(world).changes, said(world).changes_problem, world.said("changes")) == ((), "", None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "text"),
    [(CHANGES, "{"), (FACTS, '{"verdict":"ready","reason":"","seen":{}}'), (CHANGES, "x" * (LIMIT + 1))],
)
@pytest.mark.parametrize("owner", ["ours", "kubectl"])
def test_a_hostile_annotation_is_named_and_believed_in_nothing(world: World, owner: str, key: str, text: str) -> None:
    """The report says that earlier changes are not known, the log why, and the verdict is that of the probe."""
    probe(world, "ready", 1)
    world.settle()
    probe(world, "not-ready", 2)
    world.settle()
    if owner == "ours":
        world.node["annotations"][key] = text
    else:
        world.api.store.policy = None
        edit(world, key, text)
    world.restart()
    probe(world, "not-ready", 3)
    with capture_logs() as logs:
        world.settle()
    report = said(world)
    assert (report.verdict, report.changes) == ("not-ready", ())
    assert CHANGES in report.changes_problem or key in report.changes_problem
    assert [one["problem"] for one in logs if one["event"] == "history_ignored"] == [report.changes_problem]
    probe(world, "ready", 4)
    world.settle()
    assert [one["at"][14:16] for one in json.loads(world.said("changes") or "")] == ["04"]
    assert json.loads(world.said("facts") or "")["verdict"] == "ready"


def test_only_annotations_keep_it(world: World) -> None:
    """Who publishes the label alone gets no other annotation; what stood there goes."""
    probe(world, "ready", 1)
    world.settle()
    probe(world, "not-ready", 2)
    world.settle()
    world.restart("label")
    world.settle()
    assert world.said("changes") is world.said("facts") is None
