"""When to publish: not at the first doubt, not too soon after a failure, and again before it looks forgotten.

A published `ready` must not outlive its truth, and a single probe that could not look must not make the Node flap.
All times are seconds of one clock that only runs forward.
"""

from __future__ import annotations

import random

from probe.outputs.staleness import STALE
from probe.report import Report

PATIENCE = 60.0
"""Seconds between two probes that must agree on `unknown`, and for which a report may be missing."""
REFRESH = 6 * 3600.0
"""Seconds after which what stands on the Node is written again, so that consumers see it is looked after."""
CLOCK_SKEW = 300.0
"""Seconds by which a time on the Node may lie in the future."""


class Damper:
    """Holds back an `unknown` after a known verdict until a second probe, *patience* later, says so too.

    An expired report waits for nobody: three probes have failed to come by then.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._first: tuple[str, float] | None = None  # the first of a row of unknown probes, and when it was seen
        self._last: tuple[str, float] = ("", 0.0)
        self._absent_since: float | None = None

    def lets_pass(self, report: Report | None, *, known_before: bool, now: float) -> bool:
        """Whether to publish *report*. *known_before*: the Node has `ready` or `not-ready` of this boot."""
        if report is None:
            self._first = None
            self._absent_since = now if self._absent_since is None else self._absent_since
            return now - self._absent_since >= self._patience
        self._absent_since = None
        if report.verdict != "unknown" or report.reason == STALE or not known_before:
            self._first = None
            return True
        if self._first is None:
            self._first = self._last = (report.probed_at, now)
        elif report.probed_at != self._last[0]:
            self._last = (report.probed_at, now)
        return self._last[1] - self._first[1] >= self._patience


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


def next_refresh(written_before: float, now: float) -> float:
    """When to write again what was written *written_before* seconds ago; at once when that lies in the future."""
    if written_before < -CLOCK_SKEW:
        return now
    return now + REFRESH * random.uniform(0.9, 1.1) - written_before  # noqa: S311 - spreads load
