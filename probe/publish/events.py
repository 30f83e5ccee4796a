"""Events: one for each change of verdict, made before the Node says so.

What stands on the Node is the only memory that outlives this process. So an Event that failed is made after a restart,
too, as long as the Node says what it said before; and it gets the same name, by which the server knows it.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from probe.outputs.annotations import digest, node_event
from probe.publish.api.client import Api, Failure
from probe.publish.desired import Observed, render_event
from probe.report import Report
from probe.verdict import Verdict

ATTEMPTS = 3
"""How often an Event is tried before the Node waits for it no longer: Events may have a store of their own."""


class _Pending(Struct):
    change: tuple[str, Verdict | None, Verdict]
    content: dict[str, Any]
    failed: int = 0


class Announcer:
    """What was announced of this Node, and the Event that is still to be made."""

    def __init__(self, node_name: str) -> None:
        self._node = node_name
        self._announced: Verdict | None = None
        self._pending: _Pending | None = None

    @property
    def is_waited_for(self) -> bool:
        """Whether what stands on the Node should stay until the Event is made."""
        return self._pending is not None and self._pending.failed < ATTEMPTS

    def found(self, verdict: Verdict | None) -> None:
        """The Node says this; it counts as announced when this process has not announced anything yet."""
        if self._announced is None:
            self._announced = verdict

    def announce(self, api: Api, report: Report, observed: Observed, now: float) -> bool:
        """Whether an Event was made of a change of verdict. *now* in seconds since the epoch. *Errors*: Failure.

        Name and content are those of the first attempt: a request without an answer may have been granted.
        """
        event = node_event(self._announced, report)
        if event is None:
            self._announced, self._pending = report.verdict, None
            return False
        change = (observed.uid, self._announced, report.verdict)
        if self._pending is None or self._pending.change != change:
            name = self._name(report, observed)
            content = render_event(event, name=name, node_name=self._node, uid=observed.uid, now=now)
            self._pending = _Pending(change, content)
        try:
            api.create_event(self._pending.content)
        except Failure:
            self._pending.failed += 1
            raise
        self._announced, self._pending = report.verdict, None
        return True

    def _name(self, report: Report, observed: Observed) -> str:
        """The same, of another process too, until the Node says something else; where that has no time, the probe's."""
        since = observed.refreshed_at if observed.verdict == self._announced else None
        change = (observed.uid, report.node.boot_id, self._announced, report.verdict)
        return digest(*change, since or report.probed_at)[:16]
