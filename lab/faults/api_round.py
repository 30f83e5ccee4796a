"""One round: some faults at once, then none, and all is as it ought to be."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from lab.faults.api_clients import CLIENTS
from lab.faults.api_troubles import REPORTS, TROUBLES, Report, Trouble
from lab.faults.api_world import REQUESTS, Lied, World, await_
from lab.faults.hasty_serve import PACE
from lab.serve.api_double import Fault

KNOWN = ["ready", "not-ready"]
ANY = [*KNOWN, "unknown"]


Kinds = Mapping[str, Sequence[Callable[[], Fault]]]
"""How an answer can go wrong, in variants."""


class Round:
    """It is the dice's, and the same again for the same dice."""

    def __init__(self, world: World, dice: random.Random, kinds: Kinds) -> None:
        self.world, self.dice, self.kinds = world, dice, kinds
        self.recovery = 0.0
        """Seconds from the end of the last fault until all was right."""
        self.slowest_scrape = 0.0
        """Seconds of the slowest answer to a scrape."""

    def play(self, dealt: Sequence[str]) -> str:
        """What was not as it ought to be; empty when all was."""
        world = self.world
        world.begin()
        before, began = world.scrape(), time.monotonic()
        try:
            with ExitStack() as clients:
                for kind in dealt:
                    if kind in CLIENTS:
                        clients.enter_context(CLIENTS[kind](world.serve, self.dice))
                self._inject(dealt)
                over = time.monotonic()
                world.settle()
                self.recovery = time.monotonic() - over
            after = world.scrape()
            return self._storm({result: after[result] - before[result] for result in after}, over - began)
        except Lied as problem:
            world.api.faults.clear()
            return str(problem)
        finally:
            self.slowest_scrape = world.slowest

    def _inject(self, dealt: Sequence[str]) -> None:
        """All faults of this round, until the last one is over; half of the time something new is to be said then."""
        world, dice = self.world, self.dice
        for kind in dealt:
            if kind in self.kinds:
                world.api.faults += [Fault()] * dice.randrange(3) + [dice.choice(self.kinds[kind])()]
        reports = [REPORTS[kind] for kind in dealt if kind in REPORTS]
        meanwhile = dice.randrange(len(reports) + 1)
        # All that the course of the round could make more or fewer draws of is drawn before, or a seed is no round.
        pauses = [dice.random() < 0.5 for _ in reports]
        said, last = random.Random(dice.random()), dice.choice(ANY) if dice.random() < 0.5 else ""
        self._endure([trouble for kind, trouble in TROUBLES.items() if kind in dealt], reports[:meanwhile])
        for report, pause in zip(reports[meanwhile:], pauses, strict=False):
            report(world, dice)
            if pause and not world.api.faults:
                world.settle()
        while world.api.faults:
            world.probe(said.choice(KNOWN))
            await_(lambda: not (world.api.faults and world.difference()), lambda: "it does not try again")
        if last:
            world.probe(last)

    def _endure(self, troubles: Sequence[Trouble], reports: Sequence[Report]) -> None:
        """Each trouble on top of the ones before it; the last one ends first."""
        world, dice = self.world, self.dice
        if not troubles:
            for report in reports:
                report(world, dice)
            return
        first, *others = troubles
        during = first.during(world, dice)
        next(during)
        try:
            self._endure(others, reports)
            failed = world.scrape()["error"]
            world.probe(dice.choice(KNOWN))
            if first.felt:
                await_(lambda: world.scrape()["error"] > failed, lambda: f"nothing failed: {first}")
        finally:
            next(during, None)

    def _storm(self, rounds: Mapping[str, int], seconds: float) -> str:
        """More writes than changes and retries, or more retries than the backoff allows; empty when there is neither.

        *rounds*: publications by their result.
        """
        requests, changes = self.world.api.requests, self.world.changes
        asked_twice = sum(request.status in (401, 409) for request in requests)  # with a new token, or by force
        written = sum(request.method != "GET" for request in requests)
        made, errors = self.world.api.store.writes, rounds["error"]
        if written > REQUESTS * (changes + errors) + asked_twice or made > REQUESTS * changes:
            return f"{written} writes, of which {made} took effect, for {changes} changes and {errors} retries"
        if errors > (rounds["success"] + changes + 1) * attempts(seconds):
            return f"{errors} retries in {seconds:.1f} s"
        return ""


def attempts(seconds: float) -> int:
    """How often something can fail in a row, if each pause is as short as it may be."""
    number, passed = 1, 0.0
    while passed <= seconds:
        passed += 0.5 * min(PACE.backoff_limit, PACE.backoff * 2.0 ** (number - 1))
        number += 1
    return number
