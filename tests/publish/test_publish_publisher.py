"""What stands on the Node is what the last report says, at the price of as few writes as can be."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from lab.logs import capture_logs
from lab.reports import make_finding, make_report
from lab.serve.api_double import ApiDouble, Fault, Refuse, Reset, Stall
from lab.serve.api_store import KINDS, MERGE, OURS, Request, condition_of
from lab.serve.publishing import BOOT, DAY, NODE, OTHER_BOOT, PACE, World
from probe.finding import Evidence, Finding
from probe.outputs.annotations import CONDITION, node_annotations, node_condition
from probe.outputs.memory import FACTS, REMEMBERED
from probe.publish.desired import parse_observed
from probe.publish.events import ATTEMPTS
from probe.publish.parts import parse_parts
from probe.publish.publisher import Publisher
from probe.publish.schedule import CLOCK_SKEW, DEBOUNCE, REFRESH, Backoff, NextLook, Pace
from tests.extent import some_slow

ALL = ("annotations", "label", "condition", "events")


def observed(world: World) -> dict[str, str]:
    """Our annotations without the time and the history."""
    found = {key: text for key, text in world.node["annotations"].items() if key.startswith("userns-probe.io/")}
    assert FACTS in found or world.parts == {"label"}
    found = {key: text for key, text in found.items() if key not in REMEMBERED}
    assert found.pop("userns-probe.io/refreshed-at")
    return found


def test_it_writes_what_changed_and_never_else(world: World) -> None:
    """A new probe that says the same costs no request at all."""
    world.probe("ready")
    world.settle()
    assert world.source.report
    assert observed(world) == node_annotations(world.source.report)
    asked = len(world.api.requests)
    for _ in range(5):
        world.probe("ready")
        world.step(300)
    assert len(world.api.requests) == asked
    assert world.writes == 1
    assert world.source.publishing
    assert world.source.publishing.results == {"success": 1, "skipped": 5, "error": 0}


def test_a_key_without_anything_to_say_vanishes(world: World) -> None:
    """A reason does not outlive the verdict that it was for, and what others wrote stays."""
    world.probe("not-ready")
    world.settle()
    assert world.said("reason") == "TmpfsNotIdmappable"
    world.probe("ready")
    world.settle()
    assert world.said("reason") is None
    assert world.node["annotations"]["node.alpha.kubernetes.io/ttl"] == "0"
    assert world.writes == 3  # one removes the key, since an apply that shrinks is not safe on every Node


def register_again(world: World) -> None:
    world.api.store.nodes[NODE]["metadata"] |= {"uid": "another", "annotations": {}, "managedFields": []}


@pytest.mark.parametrize("seen", [True, False], ids=["a kubelet that started", "somebody else"])
def test_a_node_that_registered_again_is_written(world: World, seen: bool) -> None:
    """Ten minutes after the probe that a start of the kubelet causes, at the latest; without one, soon after an hour.

    The Node was deleted and made anew while the agent lives on, and no verdict changes.
    """
    world.pace = Pace(start_within=0)
    world.restart()
    world.probe("ready")
    world.settle()
    register_again(world)
    if seen:
        world.kubelet += 1
    world.probe("ready")
    world.step()
    world.now += world.pace.look if seen else 1.2 * world.pace.look_at_rest
    world.step()
    world.step()
    assert observed(world) == node_annotations(world.source.report)  # type: ignore[arg-type]
    assert world.writes == 2


@pytest.mark.parametrize(("interval", "reads"), [(1800, 2), (300, 6), (60, 6), (7200, 1)])
@pytest.mark.parametrize("kubelet", ["another", "none"])
def test_a_read_follows_each_probe_that_finds_another_kubelet_but_not_too_soon(
    interval: int, reads: int, kubelet: str
) -> None:
    """Or finds none: an hour has a read after each probe, not more than six, and one without a probe."""

    def found(probe: int) -> tuple[Finding, ...]:
        seen = Evidence(f"/proc/{probe}", f"kubelet, PID {probe}")
        status = "pass" if kubelet == "another" else "unknown"
        return (make_finding(id="kubelet-running", status=status, evidence=(seen,) * (kubelet == "another")),)

    assert 0.7 * 24 * reads <= reads_of_a_day(interval, found) <= 24 * reads + 12


@pytest.mark.parametrize("interval", [60, 300, 1800, 7200])
def test_no_read_follows_a_probe_that_finds_the_same_kubelet(interval: int) -> None:
    """An hour has one read."""
    same = make_finding(id="kubelet-running", evidence=(Evidence("/proc/800", "kubelet, PID 800"),))
    assert 20 <= reads_of_a_day(interval, lambda _: (same,)) <= 30


def reads_of_a_day(interval: int, found: Callable[[int], tuple[Finding, ...]]) -> int:
    """Reads of the Node in a day of probes with these findings."""
    looks, asked = NextLook(Pace()), 0
    looks.looked(0.0)
    for now in range(0, 24 * 3600, 10):
        if now % interval == 0:
            looks.probed(make_report(*found(now), probed_at=str(now)), now)
        if now >= looks.due_at:
            asked += 1
            looks.looked(now)
    return asked


def test_looking_at_the_node_writes_nothing(world: World) -> None:
    """Hours at rest are some reads and the regular refresh, however often somebody wakes the publisher."""
    world.pace = Pace(start_within=0)
    world.restart()
    world.probe("ready")
    world.settle()
    asked = len(world.api.requests)
    for _ in range(4):
        world.probe("ready")
        for _ in range(15):
            world.step(120.0)
    assert 1 <= len(world.api.requests) - asked <= 3
    assert world.writes == 1


def test_at_rest_it_waits_for_a_change_or_its_time(world: World) -> None:
    """Nothing is to be done: the next step is minutes away, or when the time for a refresh comes."""
    world.probe("ready")
    world.settle()
    assert world.publisher.step() == world.pace.rest
    world.now = world.publisher.rests_until - 10
    assert world.publisher.step() == pytest.approx(10)
    world.probe("unknown")
    assert world.publisher.step() == world.pace.tick  # until a second probe agrees


def test_retracting_removes_our_keys_alone(world: World) -> None:
    """By merge patch: on a Node that lost its managedFields, an apply of less would take foreign keys along."""
    world.restart(*ALL)
    world.probe("ready")
    world.settle()
    foreign = dict(world.node["annotations"])
    world.restart("label")
    world.settle()
    with_the_label = [f"userns-probe.io/{key}" for key in ("verdict", "boot-id", "refreshed-at")]
    assert world.node["annotations"].keys() == {
        key for key in foreign if not key.startswith("userns-probe.io/") or key in with_the_label
    }
    removing = [one for one in world.api.requests if one.method == "PATCH" and b"null" in one.body]
    assert {one.content_type for one in removing} == {"application/merge-patch+json"}


@pytest.mark.parametrize("manager", ["", "before-first-apply"])
def test_what_no_manager_owns_any_more_is_retracted_too(world: World, manager: str) -> None:
    """A Node that lost its managedFields keeps no stale key or condition of ours, and all of others."""
    world.restart(*ALL)
    world.api.store.rules |= {("create", "events")}
    world.probe("not-ready")
    world.settle()
    node = world.api.store.nodes[NODE]
    node["metadata"]["annotations"] |= {"example.com/x": "1", "userns-probe.io/other": "2"}
    node["metadata"]["labels"]["example.com/x"] = "1"
    fields = {
        "f:metadata": {
            kind: {f"f:{key}": {} for key in node["metadata"][kind[2:]]} for kind in ("f:annotations", "f:labels")
        },
        "f:status": {"f:conditions": {f'k:{{"type":"{CONDITION}"}}': {}}},
    }
    lost = {"manager": manager, "operation": "Update", "subresource": "", "fieldsV1": fields}
    node["metadata"]["managedFields"] = [lost] if manager else []
    world.restart("label")
    world.settle()
    node = world.api.store.nodes[NODE]
    ours = {key for key in node["metadata"]["annotations"] if key.startswith("userns-probe.io/")}
    kept = ("verdict", "boot-id", "refreshed-at", "other")
    assert ours == {f"userns-probe.io/{key}" for key in kept}
    assert node["metadata"]["labels"].keys() >= {"example.com/x", "kubernetes.io/hostname", LABEL}
    assert "example.com/x" in node["metadata"]["annotations"]
    assert [one["type"] for one in node["status"]["conditions"]] == ["Ready"]


def test_every_part_is_written_and_retracted_for_itself(world: World) -> None:
    """What is published no longer does not stay behind, and nothing else goes with it."""
    world.probe("not-ready")
    world.restart(*ALL)
    world.api.store.rules |= {("create", "events")}
    world.settle()
    assert world.source.report
    assert world.node["labels"]["userns-probe.io/ready"] == "false"
    condition = condition_of(world.api.store.nodes[NODE])
    expected = node_condition(world.source.report)
    assert condition
    assert (condition["status"], condition["reason"], condition["message"]) == (
        "False",
        expected.reason,
        expected.message,
    )

    world.restart("label")
    world.settle()
    assert observed(world) == {"userns-probe.io/verdict": "not-ready", "userns-probe.io/boot-id": BOOT}
    assert world.node["labels"] == {"kubernetes.io/hostname": NODE, "userns-probe.io/ready": "false"}
    assert [one["type"] for one in world.api.store.nodes[NODE]["status"]["conditions"]] == ["Ready"]

    world.restart("annotations")
    world.settle()
    assert world.node["labels"] == {"kubernetes.io/hostname": NODE}
    assert observed(world) == node_annotations(world.source.report)


@pytest.mark.parametrize("verdict", ["ready", "not-ready", "unknown"])
def test_a_restart_with_nothing_new_writes_nothing(world: World, verdict: str) -> None:
    """It reads the Node once and sees that all is there."""
    world.restart("annotations", "label", "condition")
    world.probe(verdict)
    world.settle()
    for _ in range(3):
        world.restart()
        asked, written = len(world.api.requests), world.writes
        world.probe(verdict)
        world.step()
        world.step()
        assert [one.method for one in world.api.requests[asked:]] == ["GET"]
        assert world.source.publishing
        assert world.source.publishing.last_success
        assert world.writes == written


def test_it_looks_after_what_it_wrote(world: World) -> None:
    """About every six hours the time is renewed, restarts or not, neither early nor late."""
    world.restart("annotations", "condition")
    world.probe("ready")
    world.settle()
    written, moment = world.writes, world.said("refreshed-at")
    world.now += 0.85 * REFRESH
    world.step()
    world.restart()
    world.step()
    assert world.writes == written
    world.now += 0.3 * REFRESH
    world.step()
    assert world.writes == written + 2
    assert world.said("refreshed-at") != moment
    world.step()
    assert world.writes == written + 2


@pytest.mark.slow
@pytest.mark.parametrize("jump", [2 * CLOCK_SKEW, -2 * CLOCK_SKEW, 10 * DAY, -400 * DAY, 20000 * DAY])
@pytest.mark.parametrize("parts", [("annotations",), ("condition",), ("annotations", "condition")])
def test_one_setting_of_the_wall_clock_is_one_write(world: World, jump: float, parts: tuple[Any, ...]) -> None:
    """What stands there has a time of the wrong clock, and consumers ask whether it is recent."""
    world.restart(*parts)
    world.probe("ready")
    world.settle()
    written = world.writes
    world.wall_jump = jump
    for _ in range(100):
        world.step(3)
    assert world.writes == written + len(parts)
    refreshed_at = parse_observed(world.api.store.nodes[NODE]).refreshed_at
    assert refreshed_at is not None
    assert abs(refreshed_at - world.wall) < 400


def test_nodes_whose_clocks_are_set_at_once_do_not_write_at_once(world: World) -> None:
    """A time server that is back reaches all of them in the same minute."""
    moments = set()
    for number in range(8):
        world.restart()
        world.probe("ready")
        world.settle()
        written, began = world.writes, world.now
        world.wall_jump += DAY * (-1) ** number
        while world.writes == written:
            world.step(1)
        moments.add(world.now - began)
    assert len(moments) > 4
    assert max(moments) <= PACE.renew_within + 2


@pytest.mark.slow
def test_a_clock_that_never_comes_to_rest_is_no_storm(world: World) -> None:
    """Set at every look, it makes ever fewer writes; a small step makes none at all."""
    world.probe("ready")
    world.settle()
    written = world.writes
    for number in range(3600):
        world.wall_jump = 0.9 * CLOCK_SKEW * (number % 2)
        world.step(2)
    assert world.writes == written
    for number in range(6 * 3600):
        world.wall_jump = 3 * CLOCK_SKEW * (number % 2)
        world.step(4)
    assert world.writes <= written + 20


def test_a_clock_that_is_set_during_a_request_is_noticed(world: World) -> None:
    """What was written has a time from before."""

    class Set(Fault):
        def answer(self, server: ApiDouble, request: Any) -> Any:
            world.wall_jump = 10 * DAY
            return server.store.answer(request)

    world.probe("ready")
    world.api.faults += [Fault(), Set()]
    for _ in range(100):
        world.step(3)
    assert world.writes == 2


def test_a_time_from_the_future_is_corrected(world: World) -> None:
    """Consumers ask whether the time is recent, and it is not."""
    world.wall_jump = 10 * DAY
    world.probe("ready")
    world.settle()
    world.wall_jump = 0
    world.restart()
    world.step()
    assert world.writes == 2


def test_the_transition_is_as_old_as_the_status(world: World) -> None:
    """A new reason for the same status leaves lastTransitionTime alone, also across restarts."""
    world.restart("condition")
    times = []
    for verdict in ("ready", "not-ready", "not-ready", "ready"):
        world.restart()
        world.probe(verdict)
        world.settle()
        condition = condition_of(world.api.store.nodes[NODE])
        assert condition
        times.append((condition["lastTransitionTime"], condition["lastHeartbeatTime"]))
        world.now += 2 * REFRESH
    transitions = [transition for transition, _ in times]
    assert transitions[1] == transitions[2]
    assert len(set(transitions)) == 3
    assert len({heartbeat for _, heartbeat in times}) == 4


@pytest.mark.parametrize("parts", [("label",), ("annotations",), ("condition",), ALL])
def test_what_somebody_changed_is_repaired_in_time(world: World, parts: tuple[Any, ...]) -> None:
    """Whichever parts are published; until then nobody is fought."""
    world.api.store.rules |= {("create", "events")}
    world.restart(*parts)
    world.probe("ready")
    world.settle()
    node = world.api.store.nodes[NODE]
    before = bare(node)
    for text in (None, "mine"):
        metadata = {kind: {key: text for key in node["metadata"][kind] if key.startswith(OURS)} for kind in KINDS}
        world.api.store.policy, body = None, json.dumps({"metadata": metadata}).encode()
        code, _ = world.api.store.answer(
            Request("PATCH", f"/api/v1/nodes/{NODE}?fieldManager=kubectl", MERGE, "token-1", body)
        )
        assert code == 200
        if "condition" in parts:
            node["status"]["conditions"] = [one for one in node["status"]["conditions"] if one["type"] == "Ready"]
        written = world.writes
        world.step(0.8 * REFRESH)
        world.step(0.4 * REFRESH)
        assert world.writes == written
        world.step()
        node = world.api.store.nodes[NODE]
        assert bare(node) == before


def bare(node: Any) -> Any:
    """What is published there, without the times."""
    observed = parse_observed(node)
    annotations = {key: text for key, text in observed.annotations.items() if not key.endswith("refreshed-at")}
    condition = {key: text for key, text in (observed.condition or {}).items() if not key.endswith("Time")}
    return annotations, observed.labels, condition


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "parts"), [(("patch", "nodes/status"), ("annotations",)), (("patch", "nodes"), ())])
def test_what_may_not_be_taken_back_is_told_once_and_left(
    world: World, rule: tuple[str, str], parts: tuple[Any, ...]
) -> None:
    """The rights went with the parts: no failure, no request at each round; given back, it is used at a refresh."""
    world.restart("annotations", "label", "condition")
    world.probe("ready")
    world.settle()
    world.api.store.rules -= {rule}
    world.restart(*(parts or ("condition",)))
    with capture_logs() as logs:
        for number in range(60):
            world.probe("not-ready" if number % 3 else "ready")
            world.step(300)
    assert world.result("error") == 0
    told = [one for one in logs if one["event"] in ("publish_left_behind", "publish_failed")]
    assert [(one["event"], one["problem"]) for one in told] == [("publish_left_behind", "MissingPermission")]
    assert f"prune --node-name {NODE}" in told[0]["remediation"]
    refused = [one for one in world.api.requests if one.status == 403]
    assert len(refused) <= 2
    world.api.store.rules |= {rule}
    world.step(2 * REFRESH)
    world.step()
    found = parse_observed(world.api.store.nodes[NODE])
    assert (found.condition is None) == bool(parts)
    assert bool(found.annotations) == bool(parts)
    assert not found.labels


def test_each_change_of_verdict_is_one_event(world: World) -> None:
    """None for the first verdict, none for a restart; `kubectl describe node` finds it by the Node's uid."""
    world.api.store.rules |= {("create", "events")}
    world.restart(*ALL)
    for verdict in ("ready", "ready", "not-ready", "not-ready", "ready"):
        world.probe(verdict)
        world.settle()
        world.restart()
    events = list(world.api.store.events.values())
    assert [one["reason"] for one in events] == ["UserNamespacesNotReady", "UserNamespacesReady"]
    assert [one["type"] for one in events] == ["Warning", "Normal"]
    assert events[0]["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": f"uid-of-{NODE}"}


@pytest.mark.slow
@pytest.mark.parametrize("granted", [False, True])
@pytest.mark.parametrize(
    ("parts", "restarts"),
    [
        (ALL, False),
        (ALL, True),
        (("condition", "events"), False),
        (("condition", "events"), True),
        (("label", "events"), False),  # which has no time by which another process could know the change
    ],
)
def test_an_event_that_failed_is_made_once(world: World, parts: tuple[Any, ...], granted: bool, restarts: bool) -> None:
    """Whether or not it was granted, in whichever process it is tried again, and whatever the next probe's time is."""
    world.api.store.rules |= {("create", "events")}
    world.restart(*parts)
    for verdict in ("ready", "not-ready", "ready", "not-ready"):
        world.probe(verdict)
        world.settle()
    assert len(world.api.store.events) == 3
    world.probe("ready")
    world.api.faults.append(Reset(granted=True) if granted else Refuse(503, "", "the store of Events is away"))
    world.step(400)
    assert world.result("error") == 1
    if restarts:
        world.restart()
    world.probe("ready")
    world.settle()
    assert len(world.api.store.events) == 4
    assert parse_observed(world.api.store.nodes[NODE]).verdict == "ready"


@pytest.mark.parametrize("fault", [Refuse(503, "", ""), Refuse(403, "Forbidden", "no"), Refuse(429, "", "")])
def test_no_verdict_waits_for_its_event_for_long(world: World, fault: Refuse) -> None:
    """Events may have a store of their own, and that one may be away; refused, they are not waited for at all."""
    world.api.store.rules |= {("create", "events")}
    world.restart("annotations", "events")
    world.probe("ready")
    world.settle()
    world.probe("not-ready")
    rounds = 1 if fault.code == 403 else ATTEMPTS
    for _ in range(rounds):
        assert world.said("verdict") == "ready"
        world.api.faults += [fault] if world.result("error") == 0 else [Fault(), fault]
        world.step(400)
    assert world.said("verdict") == "not-ready"
    assert not world.api.store.events
    world.settle()
    assert len(world.api.store.events) == 1


@pytest.mark.parametrize(("before", "after"), [("ready", "not-ready"), ("not-ready", "ready"), ("unknown", "ready")])
def test_a_known_verdict_is_published_at_once(world: World, before: str, after: str) -> None:
    """Only `unknown` has to wait."""
    world.probe(before)
    world.settle()
    world.probe(after)
    world.step()
    assert world.said("verdict") == after


@pytest.mark.parametrize("restarts", [False, True])
def test_unknown_waits_for_a_second_probe(world: World, restarts: bool) -> None:
    """One probe that could not look leaves the Node as it was; looking again at the same report proves nothing."""
    world.probe("ready")
    world.settle()
    if restarts:
        world.restart()
    world.probe("unknown")
    for _ in range(100):
        world.step(1)
    assert world.said("verdict") == "ready"
    world.probe("unknown")
    world.step(1)
    assert world.said("verdict") == "unknown"
    world.probe("unknown")
    world.step(1)
    assert world.writes == 2


def test_two_probes_in_a_minute_are_one(world: World) -> None:
    """Someone who sends SIGHUP twice asks the same moment twice."""
    world.probe("ready")
    world.settle()
    world.probe("unknown")
    world.step(DEBOUNCE / 2)
    world.probe("unknown")
    world.step(DEBOUNCE)
    world.step(DEBOUNCE)
    assert world.said("verdict") == "ready"
    world.probe("unknown")
    world.step()
    assert world.said("verdict") == "unknown"


def test_a_doubt_that_passes_is_forgotten(world: World) -> None:
    """Probes that could not look must follow one another."""
    world.probe("ready")
    world.settle()
    for verdict in ("unknown", "ready") * 3:
        world.probe(verdict)
        world.step(2 * DEBOUNCE)
    assert world.writes == 1


def test_while_in_doubt_nothing_is_refreshed(world: World) -> None:
    """A known verdict that the last probe could not confirm is not said to be looked after."""
    world.probe("ready")
    world.settle()
    world.probe("unknown")
    world.step(2 * REFRESH)
    world.step()
    assert world.writes == 1


def test_a_report_that_expired_is_unknown_at_once(world: World) -> None:
    """A published `ready` does not outlive its truth."""
    world.probe("ready")
    world.settle()
    world.expire()
    world.step()
    assert (world.said("verdict"), world.said("reason")) == ("unknown", "ReportStale")
    world.probe("ready")
    world.step()
    assert world.said("verdict") == "ready"


@pytest.mark.parametrize("before", ["ready", None])
def test_a_report_that_is_missing_is_unknown_after_a_minute(world: World, before: str | None) -> None:
    """A Pod that was replaced gets time for its first probe; a node whose probe never reports does not stay ready."""
    if before:
        world.probe(before)
        world.settle()
        world.source.report = None
        world.restart()
    world.step(DEBOUNCE - 1)
    assert world.said("verdict") == before
    world.step(2)
    world.step(2)
    assert (world.said("verdict"), world.said("boot-id")) == ("unknown", BOOT)


def test_what_stands_from_another_boot_is_no_known_verdict(world: World) -> None:
    """After a reboot the first probe decides, also when it could not look."""
    world.probe("ready", boot_id=OTHER_BOOT)
    world.settle()
    assert world.said("boot-id") == OTHER_BOOT
    world.restart()
    world.probe("unknown")
    world.step()
    assert (world.said("verdict"), world.said("boot-id")) == ("unknown", BOOT)


def test_after_a_boot_the_same_verdict_waits_for_its_turn(world: World) -> None:
    """A rack that boots at once would write at once; consumers see the old boot id, and do not believe it."""
    world.probe("ready", boot_id=OTHER_BOOT)
    world.settle()
    moments = set()
    for _ in range(8):
        world.restart()
        world.api.store.nodes[NODE]["metadata"]["annotations"]["userns-probe.io/boot-id"] = OTHER_BOOT
        world.probe("ready")
        booted = world.now
        while world.said("boot-id") == OTHER_BOOT:
            world.step(1)
        moments.add(world.now - booted)
    assert len(moments) > 4
    assert max(moments) <= PACE.renew_within + 2


def test_after_a_boot_another_verdict_waits_for_nothing(world: World) -> None:
    """What stands there is wrong."""
    world.probe("ready", boot_id=OTHER_BOOT)
    world.settle()
    for verdict in ("not-ready", "ready", "unknown"):
        world.restart()
        world.api.store.nodes[NODE]["metadata"]["annotations"]["userns-probe.io/boot-id"] = OTHER_BOOT
        world.probe(verdict)
        world.step()
        assert (world.said("verdict"), world.said("boot-id")) == (verdict, BOOT)


def test_nothing_is_written_before_it_rests_no_more(world: World) -> None:
    """As long as the report stays the same: who simulates a fleet need not look in between."""
    world.probe("ready")
    world.settle()
    for _ in range(3):
        rests, written = world.publisher.rests_until, world.writes
        world.now = rests - 1
        world.step(1)
        assert world.writes == written
        world.step()
        assert world.writes == written + 1
        world.api.faults.append(Refuse(503, "", ""))
        world.probe("not-ready" if world.said("verdict") == "ready" else "ready")
        world.step()
        rests, asked = world.publisher.rests_until, len(world.api.requests)
        world.now = rests - 0.1
        world.step(0.1)
        assert len(world.api.requests) == asked
        world.settle()


LABEL = "userns-probe.io/ready"


def doubts(world: World) -> None:
    """Two probes could not look."""
    for _ in range(2):
        world.probe("unknown")
        world.step(2 * DEBOUNCE)


def loses(world: World) -> None:
    """The report is gone."""
    world.source.report = None
    world.step(2 * DEBOUNCE)


UNKNOWNS = {"probes that could not look": doubts, "an expired report": World.expire, "no report": loses}


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [*some_slow(False), True])
@pytest.mark.parametrize("parts", [*some_slow(("label",), ("label", "condition")), ALL])
@pytest.mark.parametrize("unknown", UNKNOWNS)
@pytest.mark.parametrize(("verdict", "label"), [("ready", "true"), ("not-ready", "false")])
def test_the_label_fails_static(
    world: World, verdict: str, label: str, unknown: str, parts: tuple[Any, ...], restarts: bool
) -> None:
    """A verdict that is lost in the same boot leaves the label as it was, for days; all else says unknown."""
    world.api.store.rules |= {("create", "events")}
    world.restart(*parts)
    world.probe(verdict)
    world.settle()
    if restarts:
        world.restart()
    UNKNOWNS[unknown](world)
    for _ in range(8):
        world.step(REFRESH)
        if restarts:
            world.restart()
        world.step()
        assert world.node["labels"][LABEL] == label
        assert world.said("verdict") == "unknown"
        condition = condition_of(world.api.store.nodes[NODE])
        assert condition is None or condition["status"] == "Unknown"
    assert len(world.api.store.events) == ("events" in parts)
    other = "not-ready" if verdict == "ready" else "ready"
    world.probe(other)
    world.step()
    world.step()
    assert world.node["labels"][LABEL] == {"true": "false", "false": "true"}[label]
    assert world.said("verdict") == other


@pytest.mark.parametrize("parts", [("label",), ALL])
@pytest.mark.parametrize("unknown", UNKNOWNS)
def test_no_label_outlives_its_boot(world: World, unknown: str, parts: tuple[Any, ...]) -> None:
    """Another kernel may run now: what the last one could proves nothing."""
    world.api.store.rules |= {("create", "events")}
    world.restart(*parts)
    world.probe("ready", boot_id=OTHER_BOOT)
    world.settle()
    assert (world.node["labels"][LABEL], world.said("boot-id")) == ("true", OTHER_BOOT)
    world.restart()
    world.source.report = None
    if unknown == "an expired report":
        world.probe("unknown")
    UNKNOWNS[unknown](world)
    world.settle()
    assert (world.node["labels"][LABEL], world.said("boot-id")) == ("unknown", BOOT)


def test_what_was_known_and_never_written_is_the_label(world: World) -> None:
    """While the server was away a probe was refused, and the report expired: `false` is what was proven last."""
    world.restart(*ALL)
    world.api.store.rules |= {("create", "events")}
    world.probe("ready")
    world.settle()
    port = world.api.port
    world.api.stop()
    world.probe("not-ready")
    world.step(400)
    world.expire()
    world.step(400)
    world.api.start(port)
    world.settle()
    assert (world.node["labels"][LABEL], world.said("verdict")) == ("false", "unknown")


def test_a_label_of_somebody_else_is_nothing_known(world: World) -> None:
    """Edited by hand, it is no verdict of ours: a process that knows none says unknown at its next write."""
    world.restart("label")
    world.probe("not-ready")
    world.settle()
    world.api.store.policy, body = None, json.dumps({"metadata": {"labels": {LABEL: "true"}}}).encode()
    target = f"/api/v1/nodes/{NODE}?fieldManager=kubectl"
    code, _ = world.api.store.answer(Request("PATCH", target, MERGE, "token-1", body))
    assert code == 200
    world.expire()
    world.restart()
    world.settle()
    assert world.node["labels"][LABEL] == "unknown"


def test_a_label_without_a_boot_is_nothing_known(world: World) -> None:
    """As an earlier version left it."""
    world.restart("label")
    world.probe("ready")
    world.settle()
    del world.node["annotations"]["userns-probe.io/boot-id"]
    world.expire()
    world.restart()
    world.settle()
    assert world.node["labels"][LABEL] == "unknown"


def test_without_a_name_it_publishes_nothing_and_says_so(world: World) -> None:
    """It never guesses which Node it is on."""
    with capture_logs() as logs:
        Publisher(world.source, node_name=None, boot_id=BOOT, parts=world.parts).start()
    assert [(one["event"], one["problem"]) for one in logs] == [("publish_disabled", "NoNodeName")]
    assert world.source.publishing is None
    assert not world.api.requests


def test_a_server_that_never_answers_holds_up_nobody(world: World) -> None:
    """What holds now can be asked meanwhile, and the end does not wait for it; nothing on the Node is removed."""
    heard = threading.Event()

    class Heard(Stall):
        def send(self, *arguments: Any) -> None:
            heard.set()
            super().send(*arguments)

    world.probe("ready")
    world.settle()
    before = dict(world.node["annotations"])
    world.probe("not-ready")
    world.restart()
    world.api.faults.append(Heard())
    world.publisher.start()
    assert heard.wait(10)
    assert world.source.snapshot().effective
    world.publisher.stop(0.01)
    assert world.node["annotations"] == before


def test_the_thread_publishes_and_ends(world: World) -> None:
    """Started and stopped as `serve` does."""
    world.probe("ready")
    before = set(threading.enumerate())
    world.publisher.start()
    assert world.api.wrote.wait(10)
    world.publisher.stop(10)
    assert not [one for one in set(threading.enumerate()) - before if one.name == "publisher"]
    assert world.said("verdict") == "ready"


def test_what_nobody_foresaw_is_an_error_and_the_next_round_works(world: World) -> None:
    """The thread outlives it."""
    world.probe("ready")
    fine, world.source.snapshot = world.source.snapshot, lambda: 1 / 0  # type: ignore[assignment, return-value, method-assign]
    with capture_logs() as logs:
        world.step(400)
    assert [one["event"] for one in logs] == ["publisher_failed"]
    world.source.snapshot = fine  # type: ignore[method-assign]
    world.settle()
    assert world.said("verdict") == "ready"


def test_pauses_grow_to_a_limit_with_jitter_and_honour_the_server() -> None:
    """Nodes that failed together do not come back together."""
    rows = []
    for _ in range(20):
        backoff = Backoff(1, 300, 3600)
        rows.append([backoff.pause(None) for _ in range(20)])
    for row in rows:
        assert all(0.5 * min(300, 2**n) <= pause <= min(300, 2**n) for n, pause in enumerate(row))
    assert len({row[5] for row in rows}) > 10
    assert 60 <= Backoff(1, 300, 3600).pause(60) <= 72
    assert Backoff(1, 300, 3600).pause(10.0**9) <= 1.2 * 3600


@pytest.mark.parametrize(
    "node", [None, [], {}, {"metadata": 1, "status": []}, {"metadata": {"managedFields": [1, {}]}}]
)
def test_a_malformed_node_has_nothing_of_ours(node: Any) -> None:
    """Whatever the server sends can be read."""
    found = parse_observed(node)
    assert (found.verdict, found.annotations, found.condition) == (None, {}, None)


def test_parts_are_words_of_a_list() -> None:
    """A word that is none is named, with those to choose from."""
    assert parse_parts("label, annotations") == {"annotations", "label"}
    assert parse_parts("") == frozenset()
    with pytest.raises(ValueError, match=r"'taint' .*annotations, label, condition, events"):
        parse_parts("label,taint")
