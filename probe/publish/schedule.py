"""When to publish: not at the first doubt, not too soon after a failure, and again before it looks forgotten.

A published `ready` must not outlive its truth, and a single probe that could not look must not make the Node flap.
All times are seconds of one clock that only runs forward.
"""

from __future__ import annotations

import math
import random

from msgspec import Struct

from probe.outputs.staleness import STALE
from probe.report import Report

DEBOUNCE = 60.0
"""Seconds between two probes that must agree on `unknown`, and for which a report may be missing."""
REFRESH = 6 * 3600.0
"""Seconds after which what stands on the Node is written again, so that consumers see it is looked after."""
CLOCK_SKEW = 300.0
"""Seconds by which a time on the Node may lie in the future, or the clock that it is from may have been set since."""


class Pace(Struct, frozen=True, kw_only=True):
    """How eagerly to publish. *Units*: seconds."""

    tick: float = 2.0
    """Between two looks at the report while something is held back or about to be written."""
    rest: float = 60.0
    """Between two looks when nothing is: another report ends it, a wall clock that was set does not."""
    look: float = 600.0
    """About the time between two looks at the Node, which may have been deleted and registered again."""
    start_within: float = 15.0
    """All nodes of a cluster may start at once."""
    renew_within: float = 180.0
    """They may also boot at once, or have their clocks set; another boot id or time with the same verdict can wait."""
    backoff: float = 1.0
    """About the pause after the first failure; each further one doubles it."""
    backoff_limit: float = 300.0
    retry_after_limit: float = 3600.0
    debounce: float = DEBOUNCE
    """How long a doubt must last before it is published."""


class Debounce:
    """Holds back an `unknown` after a known verdict until a second probe, *seconds* later, says so too.

    An expired report waits for nobody: three probes have failed to come by then.
    """

    def __init__(self, seconds: float = DEBOUNCE) -> None:
        self._seconds = seconds
        self._first: tuple[str, float] | None = None  # the first of a row of unknown probes, and when it was seen
        self._last: tuple[str, float] = ("", 0.0)
        self._absent_since: float | None = None

    def lets_pass(self, report: Report | None, *, known_before: bool, now: float) -> bool:
        """Whether to publish *report*. *known_before*: the Node has `ready` or `not-ready` of this boot."""
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


class Backoff:
    """Pauses between failures: doubling up to a limit, with jitter, and never shorter than the server asks."""

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
        """After a success the next pause is short again."""
        self.failures = 0


class Refresh:
    """When what stands on the Node is to be written again: every six hours, and soon after the wall clock was set.

    A time from a wrong clock lies in the future, or looks old, until it is written anew. One setting makes one write,
    within *spread* seconds; a clock that is set again and again makes them ever more rarely.
    """

    def __init__(self, spread: float) -> None:
        self._spread = spread
        self._regular = self._correction = math.inf
        self._corrections = 0  # in a row
        self._offset: float | None = None  # of the wall clock to ours, when a time was written, or when it was set

    @property
    def due_at(self) -> float:
        """The moment of our clock from which on it is time."""
        return min(self._regular, self._correction)

    def look(self, now: float, wall: float) -> None:
        """Notice whether the wall clock was set."""
        offset = wall - now
        if self._offset is None:
            self._offset = offset
        elif abs(offset - self._offset) > CLOCK_SKEW:
            self._offset = offset
            if self._correction == math.inf:
                within = min(self._spread * 2.0 ** min(self._corrections, 30), REFRESH)
                self._correction = now + random.uniform(0, within)  # noqa: S311 - spreads load

    def found(self, written_at: float | None, now: float, wall: float) -> None:
        """The Node has this time, by the wall clock; without one, or with one from the future, it is due at once."""
        if written_at is None or written_at - wall > CLOCK_SKEW:
            self._regular = now
        else:
            self._regular = self._after(wall - written_at, now)

    def written(self, now: float, wall: float) -> None:
        """The Node was given a new time."""
        self._regular, self._offset = self._after(0.0, now), wall - now
        self._corrections = self._corrections + 1 if self._correction < math.inf else 0
        self._correction = math.inf

    def _after(self, written_before: float, now: float) -> float:
        return now + REFRESH * random.uniform(0.9, 1.1) - written_before  # noqa: S311 - spreads load
