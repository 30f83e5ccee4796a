"""Days of a simulated fleet, and what each costs the API server. The same seed makes the same day again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from lab import reports
from lab.logs import capture_logs
from lab.serve.fleet import HOUR, Fleet
from probe.publish.parts import Part

DAY, NOON = 24 * HOUR, 12 * HOUR
OUTAGE = 600.0
"""Seconds for which the API server is away."""
BOOT = (60.0, 120.0)
"""Seconds that nodes take to boot after a power cut, from and to."""
BATCH, BATCH_TIME = 0.05, 900.0
"""Share of the nodes that a roll-out drains and boots at a time, and seconds that this takes."""
DRAIN, REBOOT = (0.0, 300.0), (120.0, 240.0)
"""Seconds within that time, from and to."""


@dataclass(frozen=True)
class Cost:
    """What a day cost the API server. *Units*: requests, seconds."""

    scene: str
    nodes: int
    writes_per_node: float
    most_writes_of_a_node: int
    peak_writes: int  # in one second
    peak_writes_10s: float  # in each second of the worst ten in a row
    peak_reads: int  # in one second
    longest_wait: float  # from a probe that came to something else until the Node said so
    wrong_in_the_end: int  # Nodes that do not say what their last report says


def quiet(fleet: Fleet) -> None:
    """Nothing happens."""


def roll_out(fleet: Fleet) -> None:
    """A kernel that makes nodes ready, batch by batch."""
    batch = max(1, round(BATCH * len(fleet.members)))
    for number, member in enumerate(fleet.dice.sample(fleet.members, len(fleet.members))):
        off = 9 * HOUR + number // batch * BATCH_TIME + fleet.dice.uniform(*DRAIN)
        fleet.at(off, member.halt)
        fleet.at(off, partial(setattr, member, "finds", reports.make_report()))
        fleet.at(off + fleet.dice.uniform(*REBOOT), member.boot)


def setting(fleet: Fleet) -> None:
    """All nodes become ready at the same moment, and their probes find out."""
    for member in fleet.members:
        fleet.at(NOON, partial(setattr, member, "finds", reports.make_report()))
        fleet.at(0, partial(member.probe_after, NOON))


def power_cut(fleet: Fleet) -> None:
    """All nodes go off, and boot at once."""
    for member in fleet.members:
        fleet.at(NOON, member.halt)
        fleet.at(NOON + fleet.dice.uniform(*BOOT), member.boot)


def clocks(fleet: Fleet) -> None:
    """All clocks are an hour ahead, until the time server is back."""
    for member in fleet.members:
        member.set_clock(HOUR)
        fleet.at(NOON, partial(member.set_clock, 0.0))


def with_outage(scene: Callable[[Fleet], None], fleet: Fleet) -> None:
    """The same, and the API server goes away at noon."""
    scene(fleet)
    fleet.away(NOON, NOON + OUTAGE)


SCENES: Mapping[str, Callable[[Fleet], None]] = {
    "a quiet day": quiet,
    "a kernel roll-out": roll_out,
    "a kernel roll-out, and the API server away": partial(with_outage, roll_out),
    "a setting changed everywhere": setting,
    "a setting changed everywhere, and the API server away": partial(with_outage, setting),
    "all clocks set": clocks,
    "a power cut": power_cut,
    "a power cut, and the API server away": partial(with_outage, power_cut),
}


def simulate(scene: str, size: int, seed: int, parts: frozenset[Part], *, every_look: bool = False) -> Cost:
    """What that day costs; *every_look* also takes the steps that can do nothing."""
    before = random.getstate()
    random.seed(seed)  # the publishers' own jitter
    try:
        with capture_logs():
            fleet = Fleet(size, seed, parts, every_look=every_look)
            SCENES[scene](fleet)
            fleet.run(DAY)
    finally:
        random.setstate(before)
    writes, written = fleet.server.writes, fleet.server.written
    return Cost(
        scene=scene,
        nodes=size,
        writes_per_node=writes.total() / size,
        most_writes_of_a_node=max(written.values()),
        peak_writes=max(writes.values()),
        peak_writes_10s=max(sum(writes[second + more] for more in range(10)) for second in list(writes)) / 10,
        peak_reads=max((reads for second, reads in fleet.server.reads.items() if second >= 0), default=0),
        longest_wait=fleet.longest_wait,
        wrong_in_the_end=sum(not member.is_right() for member in fleet.members),
    )
