"""Schedule of publishing: debounce of `unknown`, backoff after failures, and a regular refresh.

A published `ready` must not outlive its truth, and a single failed probe must not make the Node flap. All times are
seconds of one monotonic clock.
"""

from __future__ import annotations

import math
import random

from msgspec import Struct

from probe.finding import Evidence
from probe.outputs.staleness import STALE
from probe.report import Report

DEBOUNCE = 60.0
"""Seconds for which `unknown` or a missing report must last before it is published."""
REFRESH = 6 * 3600.0
"""Seconds after which the Node is written again, so that consumers see a recent time."""
CLOCK_SKEW = 300.0
"""Tolerated seconds of a time in the future, and of a step of the wall clock."""


class Pace(Struct, frozen=True, kw_only=True):
    """Intervals of the publisher. *Units*: seconds."""

    tick: float = 2.0
    """Between two checks of the report while a change is pending."""
    rest: float = 300.0
    """Between two checks without a pending change; a new report ends it, a step of the wall clock does not."""
    look: float = 600.0
    """Minimum time between two reads of the Node, and from a probe that found another kubelet to a read."""
    look_at_rest: float = 3600.0
    """Mean time between two reads while the kubelet is the same."""
    start_within: float = 15.0
    """Maximum random delay of the start: all nodes of a cluster may start at once."""
    renew_within: float = 180.0
    """Maximum random delay after a boot or a clock step of many nodes, while the verdict stays the same."""
    backoff: float = 1.0
    """Mean pause after the first failure; each further one doubles it."""
    backoff_limit: float = 300.0
    retry_after_limit: float = 3600.0
    debounce: float = DEBOUNCE
    """Time for which `unknown` must last before it is published."""


class Debounce:
    """Delays an `unknown` after a known verdict until a second probe, *seconds* later, confirms it.

    An expired report is not delayed: three probes are missing by then.
    """

    def __init__(self, seconds: float = DEBOUNCE) -> None:
        self._seconds = seconds
        self._first: tuple[str, float] | None = None  # first of consecutive unknown probes, and its time
        self._last: tuple[str, float] = ("", 0.0)
        self._absent_since: float | None = None

    def lets_pass(self, report: Report | None, *, known_before: bool, now: float) -> bool:
        """True when *report* may be published. *known_before*: the Node has `ready` or `not-ready` of this boot."""
        if report is None:
            self._first = None
            self._absent_since = now if self._absent_since is None else self._absent_since
            return now - self._absent_since >= self._seconds
        self._absent_since = None
        if report.verdict != "unknown" or report.reason == STALE or not known_before:
            self._first = None
            return True
        if self._first is None:
            self._first = self._last = (report.probed_at, now)
        elif report.probed_at != self._last[0]:
            self._last = (report.probed_at, now)
        return self._last[1] - self._first[1] >= self._seconds


class NextLook:
    """Time of the next read of the Node: it may have been deleted and registered again, and then bears nothing of ours.

    Only a kubelet that starts registers a Node (kubernetes/kubernetes#71398), and `watch` answers that with a probe; so
    a read follows a probe that found another process of the kubelet, or none. Anybody else may create a Node, too,
    which a rare read finds.
    """

    def __init__(self, pace: Pace) -> None:
        self.due_at = math.inf
        self._pace = pace
        self._soonest = -math.inf
        self._probed_at = ""
        self._kubelet: tuple[Evidence, ...] = ()

    def probed(self, report: Report, now: float) -> None:
        """Take the report of the last probe."""
        if report.probed_at == self._probed_at:
            return
        before, self._kubelet = self._kubelet, _kubelet(report)
        self._probed_at = report.probed_at
        if not before or before != self._kubelet:
            after = now + self._pace.look * random.uniform(0.1, 1)  # noqa: S311 - spreads load
            self.due_at = min(self.due_at, max(after, self._soonest))

    def looked(self, now: float) -> None:
        """Note a read of the Node."""
        self._soonest = now + self._pace.look
        self.due_at = now + self._pace.look_at_rest * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load


def _kubelet(report: Report) -> tuple[Evidence, ...]:
    """The evidence of the running kubelet, with its PID; empty without one, as in a report that expired."""
    return next((one.evidence for one in report.findings if one.id == "kubelet-running" and one.status == "pass"), ())


class Backoff:
    """Exponential backoff with jitter and a limit; never shorter than Retry-After."""

    def __init__(self, base: float, limit: float, retry_after_limit: float) -> None:
        self._base, self._limit, self._retry_after_limit = base, limit, retry_after_limit
        self.failures = 0

    def pause(self, retry_after: float | None) -> float:
        """Seconds to wait after one more failure."""
        delay = min(self._limit, self._base * 2.0 ** min(self.failures, 30))
        self.failures += 1
        asked = min(retry_after or 0.0, self._retry_after_limit)
        return max(delay * random.uniform(0.5, 1), asked * random.uniform(1, 1.2))  # noqa: S311 - spreads load

    def reset(self) -> None:
        """Restart from the shortest pause, after a success."""
        self.failures = 0


class Refresh:
    """Time of the next write without a change: every six hours, and soon after a step of the wall clock.

    A time from a wrong clock is in the future or looks old until it is written again. One step causes one write within
    *spread* seconds; repeated steps double that delay each time.
    """

    def __init__(self, spread: float) -> None:
        self._spread = spread
        self._regular = self._correction = math.inf
        self._corrections = 0  # in a row
        self._offset: float | None = None  # wall clock minus our clock, at the last write or step

    @property
    def due_at(self) -> float:
        """Time of our clock at which the next write is due."""
        return min(self._regular, self._correction)

    def look(self, now: float, wall: float) -> None:
        """Detect a step of the wall clock."""
        offset = wall - now
        if self._offset is None:
            self._offset = offset
        elif abs(offset - self._offset) > CLOCK_SKEW:
            self._offset = offset
            if self._correction == math.inf:
                within = min(self._spread * 2.0 ** min(self._corrections, 30), REFRESH)
                self._correction = now + random.uniform(0, within)  # noqa: S311 - spreads load

    def found(self, written_at: float | None, now: float, wall: float) -> None:
        """Take the time found on the Node (wall clock); without one, or with a future one, a write is due at once."""
        if written_at is None or written_at - wall > CLOCK_SKEW:
            self._regular = now
        else:
            self._regular = self._after(wall - written_at, now)

    def written(self, now: float, wall: float) -> None:
        """Note a write of a new time to the Node."""
        self._regular, self._offset = self._after(0.0, now), wall - now
        self._corrections = self._corrections + 1 if self._correction < math.inf else 0
        self._correction = math.inf

    def _after(self, written_before: float, now: float) -> float:
        return now + REFRESH * random.uniform(0.9, 1.1) - written_before  # noqa: S311 - spreads load
