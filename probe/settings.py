"""Settings of a probe: typed, frozen, checked before any work."""

from __future__ import annotations

import os
import re
from datetime import timedelta

from msgspec import Struct

_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_LONGEST_DURATION = 100  # characters
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


BUDGET = timedelta(seconds=20)
"""Default budget; all timeouts are chosen for it and scaled with it."""
BUDGETS = (timedelta(seconds=1), timedelta(minutes=10))
"""Shortest and longest budget."""
INTERVALS = (timedelta(seconds=10), timedelta(days=1))
"""Shortest and longest interval."""


GRACE = timedelta(seconds=5)
"""Longest time that a probe may take beyond its budget before `watch` kills it."""


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of one probe."""

    node_name: str | None = None
    """As Kubernetes names the node; never guessed from the host name."""
    proc: str = "/proc"
    """Mount point of the node's /proc; another one than /proc in a container without hostPID."""
    budget: timedelta = BUDGET
    """Longest time for the whole probe, hung mounts included."""
    interval: timedelta = timedelta(minutes=5)
    """Time between reports; one expires after three, and never before the next may be due."""
    try_runtime: bool = False
    """Whether the node's own OCI runtime makes a container, which is never started."""
    try_pod: bool = False
    """Whether the node's own container runtime makes a Pod with a user namespace, and removes it."""
    memory: int | None = None
    """A file descriptor by which one probe of `watch` leaves something to the next."""

    @property
    def slowness(self) -> float:
        """Factor on each timeout: a budget above the default means a slow node."""
        return max(1.0, self.budget / BUDGET)

    @property
    def lifetime(self) -> timedelta:
        """Lifetime of a report: three intervals, or three probes that each use their whole budget."""
        return 3 * max(self.interval, self.budget + GRACE)

    def __post_init__(self) -> None:
        if self.node_name is not None and (len(self.node_name) > 253 or not _DNS_SUBDOMAIN.fullmatch(self.node_name)):
            raise ValueError(
                f"node name {self.node_name!r} is not a DNS subdomain (lower case letters, digits, '-', '.')"
            )
        if not os.path.isabs(self.proc):
            raise ValueError(f"proc {self.proc!r} is not an absolute path")
        for name, value, limits in (("budget", self.budget, BUDGETS), ("interval", self.interval, INTERVALS)):
            if not limits[0] <= value <= limits[1]:
                raise ValueError(f"{name} {value.total_seconds():g}s is not {between(limits)}")


def between(limits: tuple[timedelta, timedelta]) -> str:
    """`between 10s and 24h`."""
    return f"between {_spelled(limits[0])} and {_spelled(limits[1])}"


def _spelled(duration: timedelta) -> str:
    """A whole number of the largest unit that it is: `90s`, `24h`."""
    seconds = int(duration.total_seconds())
    unit = next(unit for unit in ("h", "m", "s") if seconds % _SECONDS[unit] == 0)
    return f"{seconds // int(_SECONDS[unit])}{unit}"


def parse_duration(text: str) -> timedelta:
    """A duration as Prometheus and Go write it: `90s`, `5m`, `1h30m`; ValueError for anything else."""
    parts = _DURATION.findall(text) if len(text) <= _LONGEST_DURATION else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text[:_LONGEST_DURATION]!r} is not a duration such as 90s, 5m or 1h30m")
    try:
        return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long a time") from error
