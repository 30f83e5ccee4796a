"""What a target is: something that reads what others wrote, and what must hold whatever they wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from probe.reading import Reading, encode

TESTS = Path(__file__).parents[3] / "tests"
DATA, HOSTS = TESTS / "data", TESTS / "hosts"
RUNS = 40_000
"""Inputs for a target at scale 1."""
_PROBLEM = 1000  # characters that tell what is wrong with a file; more would be its content


@dataclass(frozen=True)
class Target:
    """*attempt* raises for an input with which it is not up to what is promised; anything raised is a fault."""

    name: str
    group: str
    """The row of the table in which it is counted, in words that an operator understands."""
    attempt: Callable[[bytes], object]
    corpus: Callable[[], Sequence[bytes]]
    tokens: Sequence[str] = ()
    """Words that mean something to it."""
    runs: int = RUNS


def parsed(parser: Callable[[Any], Any], data: bytes, *, text: bool = True) -> Any:
    """What *parser* makes of a file with that content, None where it is a problem; as `Host.read_text` would hand it.

    Both must reach the parent process, and the problem must fit a line.
    """
    reading: Reading[Any] = Reading("input", data)
    if text:
        reading = reading.parse(lambda content: content.decode())
    found = reading.parse(parser)
    assert found.value is not None or 0 < len(found.problem) < _PROBLEM
    msgspec.json.decode(encode(found))
    return found.value


def reads(parser: Callable[[Any], Any], *, text: bool = True) -> Callable[[bytes], object]:
    """An attempt of which nothing more is known than that it must give a value or a problem."""
    return lambda data: parsed(parser, data, text=text)


def files(directory: Path, *patterns: str) -> Callable[[], Sequence[bytes]]:
    """A corpus of what was recorded; no directory is gone through twice."""
    return lambda: sorted(
        {path.read_bytes() for pattern in patterns for path in directory.glob(pattern) if path.is_file()}
    )


def lines(*texts: str) -> Callable[[], Sequence[bytes]]:
    """A corpus of small examples."""
    return lambda: [text.encode() for text in texts]
