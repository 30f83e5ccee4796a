"""Publisher: writes the report to the Node after each change, and again every six hours.

After a failure all state is dropped and the Node is read again: a request without an answer may have succeeded.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from probe.outputs.publishing import Publishing
from probe.publish.api.errors import explain_failure, is_missing, may_pass
from probe.publish.api.interface import Access, Failure, NodeApi
from probe.publish.api.requester import Requester
from probe.publish.apply import Half, halves
from probe.publish.decision import Decision
from probe.publish.desired import Desired, Observed, parse_observed, remembering
from probe.publish.events import EventRecorder
from probe.publish.outcomes import Outcomes
from probe.publish.parts import Part
from probe.publish.schedule import Debounce, NextLook, Pace, Refresh
from probe.report import Report
from probe.serve.history import History
from probe.serve.report_file import Snapshot, boot_time
from probe.watch.log import log

_SOON = 0.05  # minimum seconds between steps


class Source(Protocol):
    """Source of snapshots and receiver of the publishing state; implemented by `report_file.Current`."""

    publishing: Publishing | None
    history: History

    def snapshot(self) -> Snapshot:
        """Current state of the report file."""


class Publisher:
    """The only writer of this Node's annotations, label, condition and Events."""

    def __init__(
        self,
        source: Source,
        *,
        node_name: str | None,
        boot_id: str,
        parts: frozenset[Part],
        connect: Callable[[], AbstractContextManager[NodeApi]] | None = None,
        pace: Pace | None = None,
        clock: Callable[[], float] = boot_time,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._source, self._node, self._parts = source, node_name or "", parts
        self._connect = connect or Requester(Access()).connect
        self._pace = pace or Pace()
        self._clock, self._wall_clock = clock, wall_clock

        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._outcomes = Outcomes(source, self._node, self._pace)
        self._not_before = clock() + random.uniform(0, self._pace.start_within)  # noqa: S311 - spreads load
        self._look = NextLook(self._pace)
        self._renew_at = clock() + random.uniform(0, self._pace.renew_within)  # noqa: S311 - spreads load
        self._decision = Decision(self._node, boot_id, parts, Debounce(self._pace.debounce), self._renew_at)
        self._observed: Observed | None = None
        self._done: Desired | None = None
        """Desired state that the server accepted last; not sent again even if the server dropped a part."""
        self._refresh = Refresh(self._pace.renew_within)
        self._recorder = EventRecorder(self._node) if "events" in parts else None
        self._bears_time = (
            "metadata" if parts & {"annotations", "label"} else "status" if "condition" in parts else None
        )
        """The half of the Node that contains the time of the last write."""
        self._left_behind: set[str] = set()
        """Halves of the Node that are no longer published, but may not be removed (403)."""

    def start(self) -> None:
        """Publish from a thread of its own until `stop`; without a Node name, log an error and publish nothing."""
        if not self._parts:
            return
        if not self._node:
            remediation = "set NODE_NAME to the Pod's spec.nodeName"
            log("publish_disabled", "error", problem="NoNodeName", remediation=remediation)
            return
        self._outcomes.tell()
        log("publishing", node=self._node, parts=sorted(self._parts))
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Run the next step now, because the report may have changed."""
        self._woken.set()

    def stop(self, timeout: float) -> None:
        """Stop the thread, waiting *timeout* seconds at most; the Node is left as it is."""
        self._stopping.set()
        self._woken.set()
        if self._thread:
            self._thread.join(timeout)

    def step(self) -> float:
        """Publish if due. Returns the seconds until the next step if the report does not change."""
        now = self._clock()
        if now < self._not_before:
            return self._not_before - now
        self._refresh.look(now, self._wall_clock())
        report: Report | None = None
        try:
            report = self._source.snapshot().effective
            if report is not None:
                self._look.probed(report, now)
            if self._observed is not None and now >= self._look.due_at:
                with self._connect() as api:
                    self._compare(api)
            if self._observed is None or self._is_due(report, now):
                with self._connect() as api:
                    refused = self._publish(api, report)
                if refused:
                    self._failed(*refused)
            else:
                self._outcomes.unchanged(report)
        except Failure as failure:
            self._failed(failure)
        except Exception as error:  # the next step may work
            log("publisher_failed", "error", error=f"{type(error).__name__}: {error}"[:500])
            self._failed()
        return self._rest(report)

    @property
    def rests_until(self) -> float:
        """Time of `clock` before which `step` sends no request unless the report changes or is missing."""
        if self._observed is None:
            return self._not_before
        return min(self._refresh.due_at if self._done else self._renew_at, self._look.due_at)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait(self.step())
            self._woken.clear()

    def _rest(self, report: Report | None) -> float:
        """Seconds until the next step, unless the report changes."""
        now = self._clock()
        if now < self._not_before:
            return self._not_before - now
        settled = self._observed is not None and self._done is not None and self._decide(report, now) == self._done
        until = self.rests_until - now
        return max(_SOON, min(until if until > 0 else math.inf, self._pace.rest if settled else self._pace.tick))

    def _compare(self, api: NodeApi) -> None:
        """Drop all state when the Node has another UID: it was deleted and registered again."""
        self._look.looked(self._clock())
        observed = parse_observed(api.get_node(self._node))
        if self._observed is not None and observed.uid != self._observed.uid:
            self._observed = self._done = None

    def _is_due(self, report: Report | None, now: float) -> bool:
        desired = self._decide(report, now)
        return desired is not None and (desired != self._done or now >= self._refresh.due_at)

    def _decide(self, report: Report | None, now: float) -> Desired | None:
        assert self._observed is not None
        return self._decision.desired(report, self._observed, now, written=self._done is not None)

    def _publish(self, api: NodeApi, report: Report | None) -> list[Failure]:
        """Read the Node if needed, then write each half that differs, even if the other half is refused.

        Returns the refusals. *Errors*: Failure when the server is unreachable or asks to wait.
        """
        if self._observed is None:
            self._synchronise(api)
            report = self._source.snapshot().effective  # with the history that the Node keeps
        assert self._observed is not None
        desired = self._decide(report, self._clock())
        if desired is None:
            self._outcomes.recovered()
            return []
        now, wall = self._clock(), self._wall_clock()
        wrote, refused = self._record_event(api, report, wall)
        refresh = now >= self._refresh.due_at
        whole = remembering(desired, self._source.history.annotations(), self._parts)
        for half in halves(desired, self._observed):
            if half.is_due(refresh=refresh, left_behind=half.name in self._left_behind):
                written, failures = self._write(api, half, whole, now, wall)
                wrote, refused = wrote or written, refused + failures
        if not refused:
            if refresh and self._bears_time is None:
                self._refresh.written(now, wall)
            self._done = desired
            self._outcomes.succeeded(desired.verdict, self._wall_clock() if wrote else None)
        return refused

    def _write(self, api: NodeApi, half: Half, desired: Desired, now: float, wall: float) -> tuple[bool, list[Failure]]:
        """(True when that half of the Node was written, refusals). *Errors*: Failure that may pass."""
        assert self._observed is not None
        try:
            self._observed = half.write(api, self._node, desired, self._observed, wall)
        except Failure as failure:
            if may_pass(failure):
                raise
            if not half.is_retracted or failure.status != 403 or is_missing(failure):
                return False, [failure]
            self._leave_behind(half.name, failure)
            return False, []
        if half.name == self._bears_time:
            self._refresh.written(now, wall)
        return True, []

    def _record_event(self, api: NodeApi, report: Report | None, wall: float) -> tuple[bool, list[Failure]]:
        """(True when an Event was created, refusals)."""
        if self._recorder is None:
            return False, []
        assert self._observed is not None
        try:
            return self._recorder.record(api, self._decision.effective(report), self._observed, wall), []
        except Failure as failure:
            if may_pass(failure) and self._recorder.is_waited_for:
                raise
            return False, [failure]

    def _synchronise(self, api: NodeApi) -> None:
        """Read the observed state, so that a restart without changes writes nothing."""
        self._look.looked(self._clock())
        self._observed = parse_observed(api.get_node(self._node))
        self._source.history.recall(self._observed.annotations, self._observed.foreign)
        if self._recorder:
            self._recorder.found(self._observed.verdict)
        written, wall = self._observed.refreshed_at, self._wall_clock()
        self._refresh.found(written if self._bears_time else wall, self._clock(), wall)
        self._outcomes.found(written)

    def _leave_behind(self, what: str, failure: Failure) -> None:
        """Log once that retired content cannot be removed; the next refresh tries again."""
        if what not in self._left_behind:
            self._left_behind.add(what)
            remediation = f"userns-probe prune --node-name {self._node}, with an administrator's kubeconfig, removes it"
            log("publish_left_behind", "warning", **explain_failure(failure, self._node) | {"remediation": remediation})

    def _failed(self, *failures: Failure) -> None:
        """Drop the observed state, and back off."""
        self._observed = None
        self._not_before = self._clock() + self._outcomes.failed(failures)
