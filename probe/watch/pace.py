"""Times of probes: rare without changes, soon after a change, and limited in number per day."""

from __future__ import annotations

LOOK = 15.0
"""Seconds between two looks."""
SPACING = 60.0
"""Seconds from the begin of a probe to that of the next one, at least, whatever changes."""
RENEWAL = 300.0
"""Seconds between two reports, and between two probes where looks may miss a change."""
PER_DAY = 288
"""Probes in a day, however often something changes."""
BURST = 12
"""Probes that may follow each other at SPACING before changes have to wait for each other."""
JITTER = 0.1
"""Share of the interval by which each probe comes earlier or later, so that nodes do not probe in step."""

_REFILL = 86400 / (PER_DAY - BURST)


def next_probe(began: float, ended: float, interval: float, chance: float) -> float:
    """Start time of the next probe; *chance* from 0 to 1 adds jitter. *Units*: seconds of one clock.

    However long a probe takes, the node has at least as long a rest from it.
    """
    return max(began + interval * (1 - JITTER + 2 * JITTER * chance), 2 * ended - began)


class Pace:
    """The time of the next probe. *Units*: seconds of one clock that never goes back."""

    def __init__(self, interval: float, now: float) -> None:
        """*interval* from one probe to the next, while looks say that nothing changes."""
        self.due = now
        self._interval = interval
        self._allowance = float(BURST)
        self._counted = now
        self._soonest = now

    def probed(self, began: float, ended: float, *, watched: bool, chance: float) -> None:
        """A probe was made; *watched*: whether looks tell all that changes from now on."""
        self._refill(ended)
        self._allowance = max(self._allowance - 1, 0.0)
        self.due = next_probe(began, ended, self._interval if watched else min(self._interval, RENEWAL), chance)
        self._soonest = max(began + SPACING, 2 * ended - began, ended + (1 - self._allowance) * _REFILL)

    def hurry(self) -> None:
        """Something changed, or nobody can tell whether: the next probe comes as soon as it may."""
        self.due = min(self.due, self._soonest)

    def _refill(self, now: float) -> None:
        self._allowance = min(self._allowance + (now - self._counted) / _REFILL, float(BURST))
        self._counted = now
