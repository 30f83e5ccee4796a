"""Retract the label and the condition of Nodes whose agent is gone: it can take nothing back itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from probe.outputs.annotations import CONDITION, LABEL
from probe.outputs.staleness import parse_time
from probe.publish.api.client import Api, connect
from probe.publish.api.errors import is_missing
from probe.publish.api.interface import Access, Failure
from probe.publish.desired import Observed, parse_observed, render_time
from probe.publish.prune import Pruned, Retries, render_failure
from probe.untyped import list_of, mapping

SETTLED = 900.0
"""Seconds after which the agent of a Node that booted has probed it and published."""


class Candidate(Struct, frozen=True, kw_only=True):
    """Label and condition of one Node, with the time of their last refresh."""

    name: str
    version: str
    """The Node's resourceVersion."""
    label: bool
    condition: bool
    refreshed_at: float | None
    """Seconds since the epoch; None without a time that can be read."""
    boot_id: str
    running_boot_id: str
    heartbeat: float | None
    """The last heartbeat of the kubelet, by its clock."""
    ready_since: float | None = None
    """Last transition of the condition Ready, by the same clock."""


def prune_stale(
    access: Access, age: float, retries: Retries | None = None, clock: Callable[[], float] = time.time
) -> Iterator[Pruned]:
    """Retract label and condition where `refreshed-at` is older than *age* seconds, or `boot-id` is not the Node's.

    Annotations stay: each consumer can see of when they are. A Node is read again before it is written, and written
    only if nobody wrote it meanwhile. *Errors*: Failure when there are no credentials, or the Nodes cannot be listed.
    """
    retries = retries or Retries()
    with connect(access) as api:
        found = retries.run(partial(_listed, api, retries), lambda failure: failure.status == 410)
        now = _now(found, clock())
        judge = partial(why_stale, before=now - age, settled=now - SETTLED)
        for candidate in found:
            if candidate.label or candidate.condition:
                if _is_without_a_time(candidate):
                    reason = "neither refreshed-at nor boot-id shows how old label and condition are"
                    yield Pruned(node=candidate.name, reason=reason)
                elif judge(candidate):
                    yield _retract(api, candidate.name, judge, retries)


def why_stale(candidate: Candidate, before: float, settled: float = math.inf) -> str:
    """The reason why label and condition no longer count; empty while they do.

    *before* and *settled* in seconds since the epoch: a Node that became Ready after *settled* may wait for its agent.
    """
    other = candidate.boot_id and candidate.running_boot_id and candidate.boot_id != candidate.running_boot_id
    if other and (candidate.ready_since or 0) < settled:
        return f"they were of the boot {candidate.boot_id}, and the Node runs {candidate.running_boot_id}"
    if candidate.refreshed_at is not None and candidate.refreshed_at < before:
        return f"they were last refreshed at {render_time(candidate.refreshed_at)}"
    return ""


def _is_without_a_time(candidate: Candidate) -> bool:
    return candidate.refreshed_at is None and not why_stale(candidate, before=0.0)


def _now(found: list[Candidate], wall: float) -> float:
    """The time by which Nodes are judged: a clock here that is ahead of every kubelet's would make all of them old."""
    return min(wall, max((one.heartbeat for one in found if one.heartbeat is not None), default=wall))


def _listed(api: Api, retries: Retries) -> list[Candidate]:
    """One for each Node; the list is read to its end before any change, since pages expire."""
    found: list[Candidate] = []
    token, more = "", True
    while more:
        nodes, token = retries.run(partial(api.list_page, token))
        found += [_candidate(node) for node in nodes]
        more = bool(token)
    return found


def _retract(api: Api, name: str, judge: Callable[[Candidate], str], retries: Retries) -> Pruned:
    """Read the Node, judge it again, and retract; from the beginning if somebody wrote it meanwhile (409)."""
    done = Pruned(node=name)
    for _ in range(retries.attempts):
        try:
            one = _candidate(retries.run(partial(api.get_node, name)))
            reason = judge(one)
            if not reason:
                return done
            done = replace(done, reason=reason)
            if one.label:
                delete = partial(api.delete_keys, name, annotations=(), labels=(LABEL,), version=one.version)
                one = _candidate(retries.run(delete))
                done = replace(done, labels=(LABEL,))
            if one.condition:
                retries.run(partial(api.delete_condition, name, CONDITION, version=one.version))
                done = replace(done, condition=True)
            return done
        except Failure as failure:
            if failure.status != 409:
                return done if is_missing(failure) else replace(done, problem=render_failure(failure, name))
            problem = render_failure(failure, name)
    return replace(done, problem=problem)


def _candidate(node: Mapping[str, Any]) -> Candidate:
    observed: Observed = parse_observed(node)
    metadata, status = mapping(node.get("metadata")), mapping(node.get("status"))
    ready = [one for one in list_of(status.get("conditions")) if mapping(one).get("type") == "Ready"]
    times = mapping(ready[0]) if ready else {}
    boot = mapping(status.get("nodeInfo")).get("bootID")
    return Candidate(
        name=str(metadata.get("name") or ""),
        version=str(metadata.get("resourceVersion") or ""),
        label=LABEL in mapping(metadata.get("labels")),
        condition=observed.condition is not None,
        refreshed_at=observed.refreshed_at,
        boot_id=observed.boot_id,
        running_boot_id=boot if isinstance(boot, str) else "",
        heartbeat=_time(times.get("lastHeartbeatTime")),
        ready_since=_time(times.get("lastTransitionTime")),
    )


def _time(value: Any) -> float | None:
    return parse_time(value) if isinstance(value, str) else None
