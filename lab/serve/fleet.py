"""A simulated fleet: each node has the publisher that `serve` has, with all its decisions.

The clock, the API server and what probes find are simulated. Requests take no time, and none is lost on its way.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

from msgspec.structs import replace

from lab import reports
from lab.serve.api_store import APPLY, apply_metadata, merge_metadata, patch_status
from probe.outputs.annotations import FIELD_MANAGER
from probe.outputs.publishing import Publishing
from probe.publish.api.client import Api
from probe.publish.api.interface import UNREACHABLE, Failure
from probe.publish.desired import desired_of, in_sync, parse_observed
from probe.publish.parts import Part
from probe.publish.publisher import Pace, Publisher
from probe.publish.schedule import REFRESH
from probe.report import Node, Report
from probe.serve.history import History
from probe.serve.report_file import Snapshot
from probe.watch.pace import next_probe

HOUR = 3600.0
INTERVAL = 300.0
"""Seconds between two probes, as the manifest has it."""
PROBE = (0.5, 3.0)
"""Seconds that a probe takes, from and to."""
REST = Pace().rest
EPOCH = 1_790_000_000.0
"""Where the wall clock stands at 0."""


class Server(Api):
    """The API server: Nodes in memory, and how often each second it was asked."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.nodes, self.away = fleet, dict[str, dict[str, Any]](), False
        self.reads, self.writes, self.written = Counter[int](), Counter[int](), Counter[str]()

    def get_node(self, name: str) -> dict[str, Any]:
        self.reads[math.floor(self.fleet.now)] += 1
        return self.nodes[name]

    def apply_metadata(self, name: str, metadata: dict[str, Any], *, force: bool) -> dict[str, Any]:
        apply_metadata(self.nodes[name], {"metadata": metadata}, FIELD_MANAGER, force)
        return self._write(name)

    def delete_keys(self, name: str, *, annotations: Iterable[str], labels: Iterable[str]) -> dict[str, Any]:
        keys = {"annotations": dict.fromkeys(annotations), "labels": dict.fromkeys(labels)}
        merge_metadata(self.nodes[name], {"metadata": keys}, FIELD_MANAGER)
        return self._write(name)

    def apply_condition(self, name: str, condition: dict[str, Any], *, force: bool) -> dict[str, Any]:
        patch_status(self.nodes[name], {"status": {"conditions": [condition]}}, FIELD_MANAGER, APPLY, force)
        return self._write(name)

    def create_event(self, event: dict[str, Any]) -> None:
        self._write(event["involvedObject"]["name"])

    def _write(self, name: str) -> dict[str, Any]:
        if self.fleet.now >= 0:
            self.writes[int(self.fleet.now)] += 1
            self.written[name] += 1
        return self.nodes[name]


class Member:
    """A node: what its probes find, and the publisher of each of its boots."""

    publishing: Publishing | None = None

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name = fleet, name
        self.finds = reports.tmpfs_refused()
        """What a probe comes to."""
        self.report: Report | None = None
        self.history = History()
        self.publisher: Publisher | None = None
        self._looked = self._due = 0.0
        self._reached = False  # whether the server answered last time
        self._probed = (0.0, 0.0)  # when the first probe of this boot began and ended
        self._unsaid = math.inf  # since when the Node has to say something else
        self._ahead = 0.0
        fleet.server.nodes[name] = {"metadata": {"name": name, "uid": name}, "status": {}}

    def boot(self) -> None:
        """Both containers start."""
        fleet = self.fleet
        self._boot_id = f"{fleet.dice.getrandbits(128):032x}"
        self._reached = False
        self.history = History()
        self.publisher = Publisher(
            self,
            node_name=self.name,
            boot_id=self._boot_id,
            parts=fleet.parts,
            connect=self._connect,
            clock=lambda: fleet.now,
            wall_clock=lambda: EPOCH + fleet.now + self._ahead,
        )
        self._look_at(fleet.now)
        self._probed = (fleet.now, fleet.now + fleet.dice.uniform(*PROBE))
        fleet.at(self._probed[1], self.probe)

    def halt(self) -> None:
        """The node is off."""
        self.publisher = self.report = None

    def probe(self) -> None:
        """A probe ends, and its report wakes the publisher."""
        node = Node(name=self.name, boot_id=self._boot_id, distribution="")
        self.report, self._unsaid = replace(self.finds, node=node), min(self._unsaid, self.fleet.now)
        if self._reached:
            self._look_at(self.fleet.now)

    def set_clock(self, seconds: float) -> None:
        """Its wall clock is so far ahead from now on."""
        self._ahead = seconds
        if self._reached:  # seen at the next look, of which some are left out
            self._look_at(min(self._due, self._looked + REST * math.ceil((self.fleet.now - self._looked) / REST)))

    def probe_after(self, moment: float) -> None:
        """Probes go on; the first one that begins after *moment* finds what is to be found by then."""
        began, ended = self._probed
        while began < moment:
            began = next_probe(began, ended, INTERVAL, self.fleet.dice.random())
            ended = began + self.fleet.dice.uniform(*PROBE)
        self.fleet.at(ended, self.probe)

    def snapshot(self) -> Snapshot:
        """What holds now."""
        report = self.report and self.history.continued(self.report)
        return Snapshot(state="valid" if report else "missing", message="", effective=report)

    def is_right(self) -> bool:
        """Whether the Node says what the report says."""
        assert self.report
        observed = parse_observed(self.fleet.server.nodes[self.name])
        return in_sync(desired_of(self.report, self.fleet.parts), observed) == (True, True)

    @contextmanager
    def _connect(self) -> Iterator[Api]:
        self._reached = False
        if self.fleet.server.away:
            raise Failure(0, UNREACHABLE, "connection refused")
        yield self.fleet.server
        self._reached = True

    def _look_at(self, moment: float) -> None:
        self._due = moment
        self.fleet.at(moment, partial(self._look, moment, self.publisher))

    def _look(self, due: float, publisher: Publisher) -> None:
        """A step of the publisher; further ones that can do nothing are left out."""
        if publisher is not self.publisher or due != self._due:
            return  # meanwhile the node went off, or something happened
        self._looked = self.fleet.now
        due += publisher.step()
        if self.report and self._reached and self._unsaid < math.inf and self.is_right():
            self.fleet.waited(self.fleet.now - self._unsaid)
            self._unsaid = math.inf
        rests = publisher.rests_until
        if self.report and not self.fleet.every_look:
            due = max(due, rests)
        self._look_at(due)


class Fleet:
    """Nodes, their server, and a clock that jumps from event to event."""

    def __init__(self, size: int, seed: int, parts: frozenset[Part], *, every_look: bool = False) -> None:
        self.now = -7 * HOUR
        self.dice, self.parts, self.every_look = random.Random(seed), parts, every_look
        self.longest_wait = 0.0
        self.server = Server(self)
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self.members = [Member(self, f"node-{number}") for number in range(size)]
        for member in self.members:
            self.at(
                self.dice.uniform(-REFRESH, 0), member.boot
            )  # so that refreshes are not in step when the day begins

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Let something happen."""
        heapq.heappush(self._events, (moment, next(self._numbers), action))

    def run(self, until: float) -> None:
        """Let all happen that is to happen before *until*."""
        while self._events[0][0] < until:
            self.now, _, action = heapq.heappop(self._events)
            action()

    def waited(self, seconds: float) -> None:
        """A Node has said what it had to."""
        if self.now - seconds >= 0:
            self.longest_wait = max(self.longest_wait, seconds)

    def away(self, start: float, end: float) -> None:
        """The API server is down from *start* to *end*."""
        self.at(start, partial(setattr, self.server, "away", True))
        self.at(end, partial(setattr, self.server, "away", False))
