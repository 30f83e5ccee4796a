"""Reading: a value with its source, or a problem with its source."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import wraps
from typing import Any, Generic, Literal, ParamSpec, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")

ProblemKind = Literal["absent", "not-permitted", "timed-out", "not-readable", "not-tried"]
"""Kind of problem of a reading without value.

`absent` (the source does not exist here) can be an answer in itself; the others mean unknown.
"""

_KIND_OF_ERRNO: dict[int, ProblemKind] = {
    errno.ENOENT: "absent",
    errno.ENOTDIR: "absent",
    errno.ESRCH: "absent",  # the process ended before it was read
    errno.EACCES: "not-permitted",
    errno.EPERM: "not-permitted",
    errno.ETIMEDOUT: "timed-out",
}


class Reading(Struct, Generic[T], frozen=True, omit_defaults=True):
    """A value or a problem, with its source. Never both, never neither."""

    source: str
    value: T | None = None
    problem: str = ""
    kind: ProblemKind | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.problem) or bool(self.problem) != bool(self.kind):
            raise ValueError(f"a reading of {self.source} needs a value or a problem")

    @classmethod
    def without(cls, source: str, kind: ProblemKind, problem: str) -> Reading[T]:
        """A reading without value; *problem* is half a sentence for an administrator."""
        return cls(source, None, problem, kind)

    @classmethod
    def from_error(cls, source: str, error: OSError) -> Reading[T]:
        """A reading that failed with *error*, whose errno decides the kind."""
        kind = _KIND_OF_ERRNO.get(error.errno or 0, "not-readable")
        return cls.without(source, kind, error.strerror or str(error) or "failed")

    def parse(self, parser: Callable[[T], U]) -> Reading[U]:
        """Reading of *parser*(value), whose ValueError becomes a problem; a problem stays unchanged."""
        if self.value is None:
            return problem_of(self)
        try:
            return Reading(self.source, parser(self.value))
        except ValueError as error:
            return Reading.without(self.source, "not-readable", f"not understood: {str(error)[:200]}")

    def then(self, step: Callable[[T], Reading[U]]) -> Reading[U]:
        """*step*(value), another reading; a problem stays unchanged."""
        return problem_of(self) if self.value is None else step(self.value)

    def need(self) -> T:
        """The value. *Errors*: NeededError, which `or_problem` turns into the result of the calling function."""
        if self.value is None:
            raise NeededError(self)
        return self.value

    def __str__(self) -> str:
        return f"{self.source}: {self.value if self.value is not None else self.problem}"


class NeededError(Exception):
    """A needed reading has no value, so the result that depends on it has none either."""

    def __init__(self, reading: Reading[Any]) -> None:
        super().__init__(str(reading))
        self.reading = reading


def or_problem(function: Callable[P, Reading[T]]) -> Callable[P, Reading[T]]:
    """Decorator: the result is the problem of the first reading that *function* needs and that has no value."""

    @wraps(function)
    def decorated(*args: P.args, **kwargs: P.kwargs) -> Reading[T]:
        try:
            return function(*args, **kwargs)
        except NeededError as error:
            return problem_of(error.reading)

    return decorated


def spelled_out(value: Any) -> Any:
    """*value*, made of dictionaries, sequences and strings, with lone surrogates escaped as `\\udcff`.

    A lone surrogate stands for a byte that is not UTF-8, and neither JSON nor YAML can encode it.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {spelled_out(key): spelled_out(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [spelled_out(item) for item in value]
    return value


def encode(value: object) -> bytes:
    """*value*, made of Structs, as JSON for another process; surrogates are escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(spelled_out(msgspec.to_builtins(value)))


def problem_of(reading: Reading[Any]) -> Reading[Any]:
    """Reading of another type with the same source and problem."""
    return Reading(reading.source, None, reading.problem, reading.kind)
