"""Faults of the API server, of the report and of HTTP clients, in random order and on top of each other.

`serve` is a real process that lives through all of them. After each round of faults the Node and /metrics must say what
the last report says, for no more writes than there were changes and retries, and no more retries than the backoff lets
through; in the end the process must have no more descriptors, threads and memory than in the beginning.
"""

from __future__ import annotations

import random
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.faults.api_answers import answers
from lab.faults.api_clients import CLIENTS
from lab.faults.api_round import Kinds, Round
from lab.faults.api_troubles import EITHER_OR, REPORTS, TROUBLES
from lab.faults.api_world import Lied, World, await_, running
from lab.faults.campaign import Progress, Row, times
from probe.publish.api.plain import RESPONSE_LIMIT

EACH = 54
"""How often each kind of fault is injected at scale 1."""
AT_ONCE = 4
"""At most so many faults in one round."""
MEMORY = 2 * RESPONSE_LIMIT
"""Bytes that `serve` may have more in the end than after WARM_UP: what its allocator keeps."""
WARM_UP = ("an answer without end, or huge", "garbage, huge headers and bodies sent to the port")
"""What it needs the most memory for."""
UNFORESEEN = ("publisher_failed", "refresh_failed", "request_failed", "http_error")
"""What `serve` logs when it stumbles over its own feet."""


@dataclass
class Tally:
    """What became of one kind of fault."""

    injected: int = 0
    worst: float = 0.0
    problems: list[str] = field(default_factory=list)


def campaign(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """A row for each kind of fault, and one for the process that lived through all of them, with what it kept."""
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as elsewhere:
        kinds = answers(f"https://127.0.0.1:{elsewhere.getsockname()[1]}/api")
        tallies = {kind: Tally() for kind in (*kinds, *TROUBLES, *REPORTS, *CLIENTS)}
        rounds = deal([*tallies] * times(EACH, scale), random.Random(seed))
        with running(Path(directory)) as world:
            life = Life(world, kinds)
            for number, dealt in enumerate(rounds):
                progress(f"API faults: round {number + 1} of {len(rounds)}")
                played = Round(world, random.Random(f"{seed} {number}"), kinds)
                problem, told = played.play(dealt), f"seed {seed}, round {number + 1} of {', '.join(dealt)}"
                for kind in dealt:
                    tally = tallies[kind]
                    tally.injected += 1
                    tally.worst = max(tally.worst, played.slowest_scrape if kind in CLIENTS else played.recovery)
                    if problem:
                        tally.problems.append(f"{told}: {problem}")
                life.check(told)
                if not life.goes_on:
                    break
            life.end()
        if visited(elsewhere):
            life.problems.append("a redirect was followed, and somebody else has seen our token")
    for kind, tally in tallies.items():
        survived = tally.injected - len(tally.problems)
        yield Row(kind, tally.injected, survived, tally.worst, None, tuple(tally.problems))
    yield life.row(sum(tally.injected for tally in tallies.values()))


def deal(kinds: Sequence[str], dice: random.Random) -> list[list[str]]:
    """All of *kinds*, a few in each round, none twice in one."""
    left = list(kinds)
    dice.shuffle(left)
    rounds = []
    while left:
        dealt: list[str] = []
        for kind in left[: dice.randrange(1, AT_ONCE + 1)]:
            if not any({kind, one} <= group for one in dealt for group in ({kind}, *EITHER_OR)):
                dealt.append(kind)
        for kind in dealt:
            left.remove(kind)
        rounds.append(dealt)
    return rounds


class Life:
    """The process: what it had in the beginning, and what it must not have more."""

    def __init__(self, world: World, kinds: Kinds) -> None:
        self.world, self.serve = world, world.serve
        for number in range(3):
            Round(world, random.Random(number), kinds).play(WARM_UP)
        self.had = {what: min(self.serve.count(what) for _ in range(1000)) for what in ("fd", "task")}
        self.memory = self.serve.memory()
        self.worst = 0.0
        self.leftovers = 0
        self.problems: list[str] = []

    @property
    def goes_on(self) -> bool:
        """Whether it is still alive."""
        return self.serve.process.poll() is None

    def check(self, told: str) -> None:
        """To be called after each round, which is *told*."""
        self.worst = max(self.worst, self.world.slowest)
        problems = [str(entry) for name in UNFORESEEN for entry in self.serve.events(name)] + self.serve.unstructured
        self.serve.log.clear()
        self.serve.unstructured.clear()
        if self.goes_on:
            problems += [problem for what in self.had if (problem := self._left(what))]
        else:
            problems.append(f"it ended with {self.serve.process.returncode}")
        self.problems += [f"{told}: {problem}" for problem in problems]

    def end(self) -> None:
        """To be called after the last one."""
        if self.goes_on and (grown := self.serve.memory() - self.memory) > MEMORY:
            self.problems.append(f"{grown} bytes more memory")

    def _left(self, what: str) -> str:
        """What it has more than it had; empty when that is nothing."""
        had = self.had[what]
        try:
            await_(lambda: self.serve.count(what) <= had, lambda: f"{self.serve.count(what)} {what} instead of {had}")
        except Lied as problem:
            self.had[what] = self.serve.count(what)
            self.leftovers += self.had[what] - had
            return f"{problem}: {self.serve.opened()}"
        return ""

    def row(self, injected: int) -> Row:
        """For the process as a whole."""
        fine = not self.problems
        name = "all of these, in one process"
        return Row(name, injected, injected * fine, self.worst, self.leftovers, tuple(self.problems))


def visited(elsewhere: socket.socket) -> bool:
    """Whether anybody connected there."""
    elsewhere.setblocking(False)
    try:
        elsewhere.accept()[0].close()
    except BlockingIOError:
        return False
    return True
