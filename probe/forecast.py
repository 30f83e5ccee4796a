"""Types of what is said of events to come: a boot of the node, a restart of its container runtime."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

from probe.verdict import Verdict

Event = Literal["boot", "runtime-restart"]
EVENTS: tuple[Event, ...] = get_args(Event)
Outcome = Literal["stays", "turns", "unknown"]
"""`stays`: the verdict and its levels are the same afterwards; `turns`: one of them is another."""


class Change(Struct, frozen=True, kw_only=True):
    """One thing that is another after the event."""

    what: str
    """Name of a sysctl, a parameter or a setting, or a directory."""
    now: str
    then: str
    source: str
    """File or command that shows it."""


class EventForecast(Struct, frozen=True, kw_only=True):
    """Forecast of the verdict after one event; it never decides today's verdict."""

    event: Event
    outcome: Outcome
    verdict: Verdict
    """Verdict after the event, as far as it is known."""
    levels: dict[str, Verdict]
    reason: str
    """Reason of the finding that decides afterwards; empty when ready."""
    message: str
    """One sentence: the cause of a turn, or why the outcome is unknown."""
    remediation: str
    """Steps that prevent a turn for the worse; empty when none is needed."""
    pending: str
    """Half a sentence: why the event is due; empty when nothing is known to ask for it."""
    changes: tuple[Change, ...]
