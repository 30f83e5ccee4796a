"""A node that answers what a bundle holds."""

from __future__ import annotations

import errno
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast, get_origin, get_type_hints

from probe.facts.bundle.questions import OF_HOST, OF_TRIALS, Answers, Asked, of_target, question_of
from probe.facts.filesystems.attempts import Bench
from probe.facts.gather import gather_node
from probe.facts.memory import Memory, remember
from probe.facts.model import Facts, ProbeFacts, RuntimeFacts
from probe.facts.trials.processes import Trials
from probe.facts.tried import NamespaceAttempt
from probe.host.host import Host
from probe.host.idmap import Answer, Target
from probe.reading import Reading

MISSING = "the bundle has no answer to this question"


def replay(asked: Sequence[Asked], node_name: str | None) -> Facts:
    """Facts of the node that gave these answers; the answer to a question that was not asked there is a problem.

    *Errors*: ValueError when an answer is not of the type that the question has.
    """
    answers = Answers(asked)
    host = replayed_host(answers)
    probe = answers.take("probe", [], ProbeFacts)
    if probe is None:
        raise ValueError("it does not say what the probe was allowed to do")
    facts = gather_node(node_name, host, probe, cast("Trials", _ReplayedTrials(answers)))
    return remember(host, facts, Memory(), None)


def replayed_host(answers: Answers) -> Host:
    """A node that answers what a bundle holds."""
    host: Host = type("ReplayedHost", (Host,), {name: _replayed(answers, name) for name in OF_HOST})()
    return host


def _replayed(answers: Answers, name: str) -> Callable[..., Any]:
    signature = _without_self(getattr(Host, name))
    kind = get_type_hints(getattr(Host, name))["return"]

    def ask(_: Host, *arguments: Any, **named: Any) -> Any:
        answer = answers.take(name, question_of(signature, *arguments, **named), kind)
        if answer is not None:
            return answer
        source = " ".join([name, *(str(each) for each in arguments if isinstance(each, str | int))])
        missing: Reading[Any] = Reading.without(source, "not-readable", MISSING)
        if get_origin(kind) is not dict:
            return missing
        return dict.fromkeys(next(each for each in arguments if not isinstance(each, str | int)), missing)

    return ask


def _without_self(method: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(method)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


class _ReplayedTrials:
    """Results that a bundle holds."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in OF_TRIALS:
            raise AttributeError(name)
        kind = get_type_hints(getattr(Trials, name))["return"]

        def ask(*_: Any) -> Any:
            missing: Reading[Any] = Reading.without(name, "not-tried", MISSING)
            return self._answers.take(name, [], kind) or missing

        return ask

    def namespace(self, _: ProbeFacts) -> NamespaceAttempt:
        found: NamespaceAttempt | None = self._answers.take("namespace", [], NamespaceAttempt)
        return found or NamespaceAttempt(result="unknown", reason=MISSING, kind="not-tried", step="", map="")

    def cri(self, endpoint: str) -> None:
        """Nobody is asked again."""

    def bench(self, _: Reading[RuntimeFacts]) -> Bench:
        return _ReplayedBench(self._answers)


class _ReplayedBench(Bench):
    """Attempts with the answers that a bundle holds; what it lacks was not tried."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(0 if answers.take("userns", [], bool) else -1, 0.0, lambda: None)
        self._answers = answers

    def control(self) -> Answer:
        return self._take("control", [])

    def walk(self, targets: Sequence[Target]) -> Iterator[tuple[int, Answer]]:
        for index, target in enumerate(targets):
            question, arguments = of_target(target)
            if target.kind != "mount":
                yield index, self._take(question, arguments)
            elif answer := self._answers.take(question, arguments, Answer):
                yield index, answer

    def _take(self, question: str, arguments: list[Any]) -> Answer:
        answer: Answer | None = self._answers.take(question, arguments, Answer)
        return answer or Answer("helper", errno.EIO)
