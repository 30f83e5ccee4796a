"""What was read from a node: a value with its source, or a problem with its source."""

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
"""Why there is no value.

`absent` (it does not exist here) can be an answer in itself; the others mean that nobody knows.
"""

_KIND_OF_ERRNO: dict[int, ProblemKind] = {
    errno.ENOENT: "absent",
    errno.ENOTDIR: "absent",
    errno.ESRCH: "absent",  # the process ended between listing and reading
    errno.EACCES: "not-permitted",
    errno.EPERM: "not-permitted",
    errno.ETIMEDOUT: "timed-out",
}


class Reading(Struct, Generic[T], frozen=True, omit_defaults=True):
    """A value and where it comes from, or why there is none. Never both, never neither."""

    source: str
    value: T | None = None
    problem: str = ""
    kind: ProblemKind | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.problem) or bool(self.problem) != bool(self.kind):
            raise ValueError(f"a reading of {self.source} needs a value or a problem")

    @classmethod
    def without(cls, source: str, kind: ProblemKind, problem: str) -> Reading[T]:
        """A reading that failed: *problem* is half a sentence that an administrator understands."""
        return cls(source, None, problem, kind)

    @classmethod
    def from_error(cls, source: str, error: OSError) -> Reading[T]:
        """The reading that *error* prevented; its errno decides the kind."""
        kind = _KIND_OF_ERRNO.get(error.errno or 0, "not-readable")
        return cls.without(source, kind, error.strerror or str(error) or "failed")

    def parse(self, parser: Callable[[T], U]) -> Reading[U]:
        """The value turned by *parser*, whose ValueError becomes a problem; a problem stays what it is."""
        if self.value is None:
            return problem_of(self)
        try:
            return Reading(self.source, parser(self.value))
        except ValueError as error:
            return Reading.without(self.source, "not-readable", f"not understood: {str(error)[:200]}")

    def then(self, step: Callable[[T], Reading[U]]) -> Reading[U]:
        """The reading that *step* takes with the value; a problem stays what it is."""
        return problem_of(self) if self.value is None else step(self.value)

    def need(self) -> T:
        """The value. *Errors*: NeededError, which `or_problem` turns into the result of the function that needs it."""
        if self.value is None:
            raise NeededError(self)
        return self.value

    def __str__(self) -> str:
        return f"{self.source}: {self.value if self.value is not None else self.problem}"


class NeededError(Exception):
    """A reading has no value, and what was to be made of it has none either."""

    def __init__(self, reading: Reading[Any]) -> None:
        super().__init__(str(reading))
        self.reading = reading


def or_problem(function: Callable[P, Reading[T]]) -> Callable[P, Reading[T]]:
    """*function*, whose result is the problem of the first reading that it needs and that has no value."""

    @wraps(function)
    def decorated(*args: P.args, **kwargs: P.kwargs) -> Reading[T]:
        try:
            return function(*args, **kwargs)
        except NeededError as error:
            return problem_of(error.reading)

    return decorated


def spelled_out(value: Any) -> Any:
    """*value*, made of dictionaries, sequences and texts, with each half of a surrogate pair spelled out: `\\udcff`.

    It stands for a byte that is no UTF-8, or for no character at all, and neither JSON nor YAML can carry it.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {spelled_out(key): spelled_out(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [spelled_out(item) for item in value]
    return value


def encode(value: object) -> bytes:
    """*value*, made of Structs, as JSON for another process, whatever bytes the names on a node are made of."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(spelled_out(msgspec.to_builtins(value)))


def problem_of(reading: Reading[Any]) -> Reading[Any]:
    """The same problem, as a reading of anything that depends on it."""
    return Reading(reading.source, None, reading.problem, reading.kind)
