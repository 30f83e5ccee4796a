"""Events: one for each change of verdict, created before the verdict is written to the Node.

The Node is the only memory that outlives this process. While it carries the old verdict, a restart creates the failed
Event again, under the same name, so that the server rejects a duplicate.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from probe.outputs.annotations import digest, node_event
from probe.publish.api.interface import Failure, NodeApi
from probe.publish.desired import Observed, render_event
from probe.report import Report
from probe.verdict import Verdict

ATTEMPTS = 3
"""Attempts to create an Event before the Node is written without it: Events may have a store of their own."""


class _Pending(Struct):
    change: tuple[str, Verdict | None, Verdict]
    content: dict[str, Any]
    failed: int = 0


class EventRecorder:
    """The last verdict with an Event, and the Event that is still to be created."""

    def __init__(self, node_name: str) -> None:
        self._node = node_name
        self._recorded: Verdict | None = None
        self._pending: _Pending | None = None

    @property
    def is_waited_for(self) -> bool:
        """True while the Node must not be written because its Event is pending."""
        return self._pending is not None and self._pending.failed < ATTEMPTS

    def found(self, verdict: Verdict | None) -> None:
        """Take the verdict found on the Node as recorded, unless this process has recorded one."""
        if self._recorded is None:
            self._recorded = verdict

    def record(self, api: NodeApi, report: Report, observed: Observed, now: float) -> bool:
        """Create an Event of a changed verdict; False if there was none. *now*: since the epoch. *Errors*: Failure.

        Name and content are those of the first attempt: a request without an answer may have been granted.
        """
        event = node_event(self._recorded, report)
        if event is None:
            self._recorded, self._pending = report.verdict, None
            return False
        change = (observed.uid, self._recorded, report.verdict)
        if self._pending is None or self._pending.change != change:
            name = self._name(report, observed)
            content = render_event(event, name=name, node_name=self._node, uid=observed.uid, now=now)
            self._pending = _Pending(change, content)
        try:
            api.create_event(self._pending.content)
        except Failure:
            self._pending.failed += 1
            raise
        self._recorded, self._pending = report.verdict, None
        return True

    def _name(self, report: Report, observed: Observed) -> str:
        """Name derived from the change and the time of the old verdict (else of the probe): a restart keeps it."""
        since = observed.refreshed_at if observed.verdict == self._recorded else None
        change = (observed.uid, report.node.boot_id, self._recorded, report.verdict)
        return digest(*change, since or report.probed_at)[:16]
