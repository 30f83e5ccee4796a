"""A probe that keeps all that it asked of the node, so that another machine can probe the same node again."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

from probe.facts.bundle.questions import OF_HOST, OF_TRIALS, Asked, of_target, plain, question_of
from probe.facts.filesystems.attempts import Bench
from probe.facts.gather import gather_node, in_node, node_host
from probe.facts.memory import Memory, remember
from probe.facts.model import Facts, ProbeFacts, RuntimeFacts
from probe.facts.trials.processes import Trials
from probe.host.background import BackgroundChild
from probe.host.child import ChildError, run_child
from probe.host.host import Host
from probe.host.idmap import Answer, Target
from probe.reading import Reading, encode
from probe.settings import Settings

LIMIT = 256 << 20
"""Bytes of all questions and answers."""

T = TypeVar("T")


class Kept(Struct, frozen=True):
    """The Facts of a probe, and all that they came from."""

    facts: Facts
    asked: tuple[Asked, ...]


def gather_and_keep(settings: Settings, cri: BackgroundChild) -> Kept:
    """As `gather_facts`, with all questions and answers.

    *Errors*: TimeoutError beyond the budget; ChildError when the answers exceed 256 MiB or the process ends early.
    """

    def gather() -> bytes:
        asked: list[Asked] = []
        deadline = time.monotonic() + settings.budget.total_seconds()
        facts = in_node(
            settings, cri, node_host(settings, deadline), deadline, partial(keep, asked, settings.node_name)
        )
        return encode(Kept(facts, tuple(asked)))

    answer = run_child(gather, settings.budget.total_seconds() + 1, LIMIT)
    try:
        return msgspec.json.decode(answer, type=Kept)
    except ValueError as error:
        raise ChildError(f"it failed: {error}") from error


def keep(asked: list[Asked], node_name: str | None, host: Host, probe: ProbeFacts, trials: Trials) -> Facts:
    """As `gather_node`; each question and answer goes to *asked*."""
    asked.append(Asked("probe", [], plain(probe)))
    host = _keeping_host(host, asked)
    facts = gather_node(node_name, host, probe, cast("Trials", _KeepingTrials(trials, asked)))
    return remember(host, facts, Memory(), None)


def _keeping_host(host: Host, asked: list[Asked]) -> Host:
    """*host*, of which each question and answer goes to *asked*; also one that a later version of Host adds."""
    kept: Host = type("KeepingHost", (Host,), {name: _keeping(host, name, asked) for name in OF_HOST})()
    kept.deadline, kept.slowness = host.deadline, host.slowness
    return kept


def _keeping(host: Host, name: str, asked: list[Asked]) -> Callable[..., Any]:
    method = getattr(host, name)
    signature = inspect.signature(method)

    def ask(_: Host, *arguments: Any, **named: Any) -> Any:
        answer = method(*arguments, **named)
        asked.append(Asked(name, question_of(signature, *arguments, **named), plain(answer)))
        return answer

    return ask


class _KeepingTrials:
    """Results of the node's own trials; each is kept."""

    def __init__(self, trials: Trials, asked: list[Asked]) -> None:
        self._trials = trials
        self._asked = asked

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._trials, name)
        if name not in OF_TRIALS:
            return cast("Callable[..., Any]", method)

        def ask(*arguments: Any) -> Any:
            answer = method(*arguments)
            self._asked.append(Asked(name, [], plain(answer)))
            return answer

        return ask

    def bench(self, runtime: Reading[RuntimeFacts]) -> Bench:
        return _KeepingBench(self._trials.bench(runtime), self._asked)


class _KeepingBench(Bench):
    """Attempts on the node; each answer is kept."""

    def __init__(self, bench: Bench, asked: list[Asked]) -> None:
        super().__init__(bench.userns_fd, 0.0, lambda: None)
        self._bench = bench
        self._asked = asked
        self._keep("userns", [], bench.userns_fd >= 0)

    def control(self) -> Answer:
        return self._keep("control", [], self._bench.control())

    def walk(self, targets: Sequence[Target]) -> Iterator[tuple[int, Answer]]:
        for index, answer in self._bench.walk(targets):
            yield index, self._keep(*of_target(targets[index]), answer)

    def _keep(self, question: str, arguments: list[Any], answer: T) -> T:
        self._asked.append(Asked(question, arguments, plain(answer)))
        return answer
