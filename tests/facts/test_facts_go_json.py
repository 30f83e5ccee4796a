"""JSON as Go reads it: names in any case, and what is there twice."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from probe.facts.go_json import convert, decode, parse


class Inner(Struct, rename="camel"):
    hard_limit: int = 0
    soft: int = 0


class Outer(Struct, rename="camel"):
    path: str = ""
    task: Inner | None = None
    tasks: tuple[Inner, ...] | None = None
    labels: dict[str, str] | None = None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Outer()),
        ('{"PATH": "/x"}', Outer("/x")),
        ('{"path": "/x", "Path": "/y"}', Outer("/y")),
        ('{"Path": "/y", "path": "/x"}', Outer("/x")),
        ('{"ta\u017f\u212a": {"SOFT": 1}}', Outer(task=Inner(soft=1))),
        ('{"task": {"soft": 1}, "TASK": {"hardlimit": 2}}', Outer(task=Inner(2, 1))),
        ('{"task": {"soft": 1}, "task": {}}', Outer(task=Inner(soft=1))),
        ('{"task": {"soft": 1}, "task": null}', Outer()),
        ('{"task": {"soft": 1, "soft": null}}', Outer(task=Inner(soft=1))),
        ('{"tasks": [{"soft": 1}], "Tasks": [{"soft": 2}, {}]}', Outer(tasks=(Inner(soft=2), Inner()))),
        ('{"labels": {"A": "1", "a": "2"}, "Labels": {"A": "3"}}', Outer(labels={"A": "3", "a": "2"})),
        ('{"hard_limit": 1, "stra\u00dfe": [{"path": "/x"}]}', Outer()),
        (' {"path": "\\ud800"}\n', Outer("\ufffd")),
    ],
)
def test_names_of_fields(text: str, expected: Outer) -> None:
    """As encoding/json of Go takes them; names in a map keep their case."""
    assert decode(text, Outer) == expected


@pytest.mark.parametrize("text", ["", "{", "{} x", "NaN", '{"path": 5}', "[" * 100_000, "\ufeff{}", '{"task": []}'])
def test_what_go_refuses(text: str) -> None:
    """It is a ValueError, however deep it is nested."""
    with pytest.raises(ValueError, match=r"\w"):
        decode(text, Outer)


def test_a_name_that_is_there_many_times() -> None:
    """Each object is merged into the one before with no copy of that: else a mebibyte of them took 40 seconds."""
    whole = parse("{" + '"task": {"soft": 1}, ' * 100_000 + '"task": {"hardLimit": 2}}')
    assert convert(whole, Outer) == Outer(task=Inner(2, 1))
    assert len(whole[0][1]) == 1, "what was parsed stays as it was"


def test_documents_of_yaml() -> None:
    """Their mappings have names in any case, too, and any depth has an end."""
    assert convert({"Task": {"SOFT": 1}}, Outer) == Outer(task=Inner(soft=1))
    assert convert({2: 2, True: 3, "path": "/x"}, Outer) == Outer("/x")
    with pytest.raises(ValueError, match="key"):
        convert({None: 1}, Outer)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="deep"):
        convert({"tasks": deep}, Outer)


def test_a_stream_has_a_first_value() -> None:
    """The decoder of a stream leaves alone what comes behind it."""
    assert convert(parse('{"path": "/x"}{ more', stream=True), Outer) == Outer("/x")


@given(st.text() | st.text(alphabet='{}[]":,ptask 1'))
def test_any_text(text: str) -> None:
    """It has a value, or a ValueError says why not."""
    with suppress(ValueError):
        assert isinstance(decode(text, Outer), Outer)
