"""Questions that a probe asks of a node, with their answers as JSON has them."""

from __future__ import annotations

import base64
import inspect
import json
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from probe.facts.trials.processes import Trials
from probe.host.host import Host, LocalHost
from probe.host.idmap import Target

OF_HOST = tuple(name for name in vars(LocalHost) if name in vars(Host) and not name.startswith("_"))
"""Questions to the node; one that a later version adds is among them without a line here."""
OF_TRIALS = tuple(name for name in vars(Trials) if not name.startswith("_") and name not in ("cri", "bench"))

_BOUNDS = frozenset(("limit", "timeout"))  # how long or large an answer may be is not part of the question


class Asked(Struct, frozen=True):
    """One question of a probe, and the answer."""

    question: str
    """Method of Host, Trials or Bench: `read`, `run`, `walk`."""
    arguments: list[Any]
    answer: Any
    """As JSON has it; bytes are `{"text": …}` where they are UTF-8, else `{"base64": …}`."""


class Answers:
    """Answers by question, in their order; the last one is given to all further questions of the same words."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self._answers: defaultdict[str, deque[Any]] = defaultdict(deque)
        for one in asked:
            self._answers[_key(one.question, one.arguments)].append(one.answer)

    def take(self, question: str, arguments: Sequence[Any], kind: Any) -> Any:
        """The next answer as *kind*, None when there is none."""
        answers = self._answers.get(_key(question, arguments))
        if not answers:
            return None
        return _convert(answers.popleft() if len(answers) > 1 else answers[0], kind)


def of_target(target: Target) -> tuple[str, list[Any]]:
    """The question that asks for an attempt at *target*, and its arguments."""
    if target.kind == "mount":
        return "walk", [target.path, target.device, target.fstype, *(["recursive"] if target.recursive else [])]
    return target.kind, [target.path] if target.path else []


def question_of(signature: inspect.Signature, *arguments: Any, **named: Any) -> list[Any]:
    """The arguments without bounds, as JSON has them."""
    bound = signature.bind(*arguments, **named)
    bound.apply_defaults()
    return [plain(value) for name, value in bound.arguments.items() if name not in _BOUNDS]


def _key(question: str, arguments: Sequence[Any]) -> str:
    return json.dumps([question, *arguments])


def plain(value: Any) -> Any:
    """*value* as JSON has it."""
    return _spelled(msgspec.to_builtins(value, builtin_types=(bytes,)))


def _spelled(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return {"text": value.decode()}
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_spelled(key): _spelled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return value


def _convert(answer: Any, kind: Any) -> Any:
    return msgspec.convert(_with_bytes(answer), kind, builtin_types=(bytes,))


def _with_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        match value:
            case {"text": str(text)} if len(value) == 1:
                return text.encode()
            case {"base64": str(text)} if len(value) == 1:
                return base64.b64decode(text, validate=True)
        return {key: _with_bytes(item) for key, item in value.items()}
    return [_with_bytes(item) for item in value] if isinstance(value, list) else value
