"""Writes to the Node what the report says, whenever it changed, and again every six hours.

All state of a failed attempt is forgotten and the Node read anew: a request without an answer may have been heard.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

import structlog
from msgspec import Struct

from probe.outputs.annotations import CONDITION, digest, node_event
from probe.outputs.metrics import PUBLISH_RESULTS, Publishing, PublishResult
from probe.report import Report
from probe.serve.kube import Access, Api, Failure, connect
from probe.serve.pace import PATIENCE, Backoff, Damper, next_refresh
from probe.serve.plan import (
    Part,
    Standing,
    Wanted,
    absent_report,
    is_settled,
    parse_standing,
    render_condition,
    render_event,
    render_metadata,
    want,
)
from probe.serve.refusals import conflicting_managers, explain_failure
from probe.serve.report_file import Snapshot, boot_time
from probe.verdict import Verdict

log = structlog.get_logger()


in_cluster = partial(connect, Access())
"""The API server with the service account of this Pod."""


class Source(Protocol):
    """What holds now, and where to tell how publishing goes; `report_file.Current` is one."""

    publishing: Publishing | None

    def snapshot(self) -> Snapshot:
        """What is known at this moment."""


class Pace(Struct, frozen=True, kw_only=True):
    """How eagerly to publish. *Units*: seconds."""

    tick: float = 2.0
    """Between two looks at the report."""
    start_within: float = 15.0
    """All nodes of a cluster may start at once."""
    renew_within: float = 180.0
    """They may also boot at once, and one whose verdict is the same as before can wait for its new boot id."""
    backoff: float = 1.0
    """About the pause after the first failure; each further one doubles it."""
    backoff_limit: float = 300.0
    retry_after_limit: float = 3600.0
    patience: float = PATIENCE
    """How long a doubt must last before it is published."""


class Publisher:
    """The only writer of this Node's annotations, label, condition and Events."""

    def __init__(
        self,
        source: Source,
        *,
        node_name: str | None,
        boot_id: str,
        parts: frozenset[Part],
        connect: Callable[[], AbstractContextManager[Api]] = in_cluster,
        pace: Pace | None = None,
        clock: Callable[[], float] = boot_time,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._source, self._node, self._boot_id, self._parts = source, node_name or "", boot_id, parts
        self._connect, self._pace = connect, pace or Pace()
        self._clock, self._wall_clock = clock, wall_clock

        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._damper = Damper(self._pace.patience)
        self._backoff = Backoff(self._pace.backoff, self._pace.backoff_limit, self._pace.retry_after_limit)
        self._not_before = clock() + random.uniform(0, self._pace.start_within)  # noqa: S311 - spreads load
        self._renew_at = clock() + random.uniform(0, self._pace.renew_within)  # noqa: S311 - spreads load
        self._standing: Standing | None = None
        self._done: Wanted | None = None
        """What the server accepted last; if it left some of it out, asking again would change nothing."""
        self._refresh_at = 0.0
        self._announced: Verdict | None = None
        self._rendered: tuple[Report, Wanted] | None = None
        self._counted = ""
        self._results: dict[PublishResult, int] = dict.fromkeys(PUBLISH_RESULTS, 0)
        self._last_success: float | None = None
        self._complaints: list[dict[str, object]] = []

    def start(self) -> None:
        """Publish from a thread of its own until `stop`; without the Node's name say so, and publish nothing."""
        if not self._parts:
            return
        if not self._node:
            log.error("publish_disabled", problem="NoNodeName", remedy="set NODE_NAME to the Pod's spec.nodeName")
            return
        self._tell()
        log.info("publishing", node=self._node, parts=sorted(self._parts))
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def stop(self, patience: float) -> None:
        """End, waiting *patience* seconds at most; what stands on the Node stays there."""
        self._stopping.set()
        if self._thread:
            self._thread.join(patience)

    def step(self) -> float:
        """Publish if it is time to; the seconds until the next look."""
        now = self._clock()
        if now < self._not_before:
            return min(self._not_before - now, self._pace.tick)
        try:
            report = self._source.snapshot().effective
            if self._standing is None or self._is_due(report, now):
                with self._connect() as api:
                    refused = self._publish(api, report)
                if refused:
                    self._failed(*refused)
            else:
                self._count_unchanged(report)
        except Failure as failure:
            self._failed(failure)
        except Exception as error:  # the next round may well work
            log.error("publisher_failed", error=f"{type(error).__name__}: {error}"[:500])
            self._failed()
        return self._pace.tick

    @property
    def rests_until(self) -> float:
        """The moment of `clock` before which `step` writes nothing unless the report changes, or is missing."""
        if self._standing is None:
            return self._not_before
        return self._refresh_at if self._done else self._renew_at

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self.step())

    def _is_due(self, report: Report | None, now: float) -> bool:
        wanted = self._decide(report, now)
        return wanted is not None and (wanted != self._done or now >= self._refresh_at)

    def _decide(self, report: Report | None, now: float) -> Wanted | None:
        """What to publish now; None while that waits for a second probe, or for its turn after a boot."""
        standing = self._standing
        assert standing is not None
        known = standing.verdict in ("ready", "not-ready")
        of_this_boot = standing.boot_id == self._boot_id or (not standing.boot_id and self._done is not None)
        if not self._damper.lets_pass(report, known_before=known and of_this_boot, now=now):
            return None
        said = self._effective(report)
        of_another_boot = standing.boot_id not in ("", self._boot_id)
        if of_another_boot and said.verdict == standing.verdict and now < self._renew_at:
            return None
        if self._rendered is None or self._rendered[0] != said:
            self._rendered = (said, want(said, self._parts))
        return self._rendered[1]

    def _effective(self, report: Report | None) -> Report:
        return absent_report(self._node, self._boot_id) if report is None else report

    def _publish(self, api: Api, report: Report | None) -> list[Failure]:
        """Read the Node if need be, then write what differs; a part that is refused keeps no other from being written.

        What comes back are the refusals. *Errors*: Failure when the server cannot be talked to now.
        """
        if self._standing is None:
            self._synchronise(api)
        assert self._standing is not None
        wanted = self._decide(report, self._clock())
        if wanted is None:
            self._recovered()
            return []
        refused: list[Failure] = []
        wrote = False
        metadata_settled, status_settled = is_settled(wanted, self._standing)
        refresh = self._clock() >= self._refresh_at
        for write, needed in (
            (self._write_metadata, not metadata_settled or (refresh and bool(wanted.annotations))),
            (self._write_status, not status_settled or (refresh and wanted.condition is not None)),
            (lambda api, _: self._announce(api, report), True),
        ):
            try:
                wrote |= needed and write(api, wanted)
            except Failure as failure:
                if not 400 <= failure.status < 500 or failure.status in (401, 429):
                    raise
                refused.append(failure)
        if not refused:
            self._finish(wanted, wrote, refresh)
        return refused

    def _synchronise(self, api: Api) -> None:
        """Learn what stands on the Node, so that a restart with nothing new writes nothing."""
        self._standing = parse_standing(api.get_node(self._node))
        if self._announced is None:
            self._announced = self._standing.verdict
        written, now = self._standing.refreshed_at, self._clock()
        self._refresh_at = now if written is None else next_refresh(self._wall_clock() - written, now)
        if self._last_success is None:
            self._last_success = written

    def _write_metadata(self, api: Api, wanted: Wanted) -> bool:
        metadata = render_metadata(wanted, self._wall_clock())
        self._standing = parse_standing(self._apply(api.apply_metadata, metadata))
        return True

    def _write_status(self, api: Api, wanted: Wanted) -> bool:
        assert self._standing is not None
        if wanted.condition is None:
            self._standing = parse_standing(api.delete_condition(self._node, CONDITION))
        else:
            condition = render_condition(wanted.condition, self._standing, self._wall_clock())
            self._standing = parse_standing(self._apply(api.apply_condition, condition))
        return True

    def _apply(self, apply: Callable[..., dict[str, Any]], content: dict[str, Any]) -> dict[str, Any]:
        """Apply what is ours alone, and if somebody else took it over, say who, and take it back."""
        try:
            return apply(self._node, content, force=False)
        except Failure as failure:
            managers = conflicting_managers(failure)
            if failure.status != 409 or not managers:
                raise
            log.warning("publish_conflict", **explain_failure(failure, self._node))
            return apply(self._node, content, force=True)

    def _announce(self, api: Api, report: Report | None) -> bool:
        """Make an Event of a change of verdict; its name is the change's, so that it is told once."""
        said = self._effective(report)
        event = node_event(self._announced, said) if "events" in self._parts else None
        if event:
            assert self._standing is not None
            name = digest(self._standing.uid, self._announced, said.verdict, said.probed_at, said.node.boot_id)[:16]
            uid, now = self._standing.uid, self._wall_clock()
            api.create_event(render_event(event, name=name, node_name=self._node, uid=uid, now=now))
        self._announced = said.verdict
        return event is not None

    def _finish(self, wanted: Wanted, wrote: bool, refreshed: bool) -> None:
        now = self._clock()
        if wrote or refreshed:
            self._refresh_at = next_refresh(0.0, now)
        self._done = wanted
        self._recovered()
        if wrote:
            self._last_success = self._wall_clock()
            log.info("published", node=self._node, verdict=wanted.verdict)
        self._count("success" if wrote else "skipped")

    def _recovered(self) -> None:
        if self._backoff.failures:
            log.info("publish_recovered", failures=self._backoff.failures)
        self._backoff.reset()
        self._complaints = []

    def _failed(self, *failures: Failure) -> None:
        """Forget what is believed of the Node, pause, and log what is wrong: once, not at each retry."""
        self._standing = None
        pause = self._backoff.pause(max((failure.retry_after or 0.0 for failure in failures), default=None))
        self._not_before = self._clock() + pause
        complaints = [explain_failure(failure, self._node) for failure in failures]
        for complaint in complaints if complaints != self._complaints else ():
            log.error("publish_failed", **complaint, retry_in_seconds=round(pause, 1))
        self._complaints = complaints
        self._count("error")

    def _count_unchanged(self, report: Report | None) -> None:
        if report is not None and report.probed_at != self._counted:
            self._count("skipped")
            self._counted = report.probed_at

    def _count(self, result: PublishResult) -> None:
        self._results[result] += 1
        self._tell()

    def _tell(self) -> None:
        self._source.publishing = Publishing(results=dict(self._results), last_success=self._last_success)
