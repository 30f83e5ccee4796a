"""A reading has a value or a problem, and keeps its source."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.reading import NeededError, Reading, encode, or_problem, problem_of

KINDS = ["absent", "not-permitted", "timed-out", "not-readable", "not-tried"]


@pytest.mark.parametrize("value", [0, False, "", (), 0.0])
def test_an_empty_value_is_a_value(value: object) -> None:
    """Only None is none."""
    assert Reading("file", value).value == value


@pytest.mark.parametrize(
    ("value", "problem", "kind"),
    [(None, "", None), (1, "broken", "absent"), (1, "broken", None), (None, "broken", None), (None, "", "absent")],
)
def test_never_both_and_never_neither(value: object, problem: str, kind: object) -> None:
    """Half a reading cannot be made."""
    with pytest.raises(ValueError, match="file"):
        Reading("file", value, problem, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, "absent"),
        (errno.ENOTDIR, "absent"),
        (errno.ESRCH, "absent"),
        (errno.EACCES, "not-permitted"),
        (errno.EPERM, "not-permitted"),
        (errno.ETIMEDOUT, "timed-out"),
        (errno.EIO, "not-readable"),
        (errno.ELOOP, "not-readable"),
        (errno.ENOMEM, "not-readable"),
    ],
)
def test_what_an_errno_means(number: int, kind: str) -> None:
    """Only what does not exist is absent."""
    reading: Reading[str] = Reading.from_error("file", OSError(number, os.strerror(number)))
    assert (reading.kind, reading.problem) == (kind, os.strerror(number))


@pytest.mark.parametrize("error", [OSError(), OSError("odd"), TimeoutError()])
def test_an_error_without_errno_is_a_problem_too(error: OSError) -> None:
    """Nothing an OSError lacks makes a reading without a problem."""
    assert Reading.from_error("file", error).problem


def test_parsing_keeps_source_and_problem() -> None:
    """A value goes through the parser, a problem around it."""
    assert Reading("file", "7").parse(int) == Reading("file", 7)
    problem: Reading[str] = Reading.without("file", "timed-out", "no answer")
    assert problem.parse(int) == Reading("file", None, "no answer", "timed-out")


def test_what_is_not_understood_is_a_short_problem() -> None:
    """A ValueError becomes a problem that fits on a screen; every other error is a fault of the parser."""
    reading = Reading("file", "x" * 10_000).parse(int)
    assert (reading.value, reading.kind) == (None, "not-readable")
    assert len(reading.problem) < 250
    with pytest.raises(TypeError):
        Reading("file", "x").parse(lambda text: text + 1)  # type: ignore[operator]


@given(
    st.text(max_size=20),
    st.integers(-(1 << 60), 1 << 60) | st.none(),
    st.text(min_size=1, max_size=20),
    st.sampled_from(KINDS),
)
def test_it_survives_the_way_from_child_to_parent(source: str, value: int | None, problem: str, kind: str) -> None:
    """Facts travel as JSON."""
    made = Reading(source, value) if value is not None else Reading(source, None, problem, kind)  # type: ignore[arg-type]
    assert msgspec.json.decode(msgspec.json.encode(made), type=Reading[int]) == made


@pytest.mark.parametrize("text", ["/bin/k\udcffbelet", "\ud800", "plain"])
def test_whatever_bytes_a_name_is_made_of_it_travels(text: str) -> None:
    """What is no character is spelled out, and nothing else is changed by that."""
    made = {text: (Reading(text, {"ü": text}), Reading.without(text, "absent", text))}
    spelled = text.encode("utf-8", "backslashreplace").decode()
    known = msgspec.json.decode(encode(made), type=dict[str, tuple[Reading[dict[str, str]], Reading[str]]])
    assert known == {spelled: (Reading(spelled, {"ü": spelled}), Reading.without(spelled, "absent", spelled))}


def test_half_a_reading_does_not_come_out_of_json() -> None:
    """What a child hands back is held to the same rule."""
    for text in ('{"source": "file"}', '{"source": "file", "value": 1, "problem": "x", "kind": "absent"}'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=Reading[int])


def test_text_for_people() -> None:
    """Source first, then what was seen or why not."""
    assert str(Reading("file", False)) == "file: False"
    assert str(Reading.without("file", "absent", "gone")) == "file: gone"


PROBLEM: Reading[int] = Reading.without("file", "timed-out", "no answer in time")


def test_a_problem_is_handed_on() -> None:
    """As it is, and nothing is made of it."""
    assert PROBLEM.then(lambda value: Reading("other", value + 1)) == problem_of(PROBLEM)
    assert Reading("file", 1).then(lambda value: Reading("other", value + 1)) == Reading("other", 2)


def test_a_needed_reading_decides_the_result() -> None:
    """The first that has no value does."""

    @or_problem
    def total(*readings: Reading[int]) -> Reading[int]:
        return Reading("total", sum(reading.need() for reading in readings))

    assert total(Reading("a", 1), Reading("b", 0)) == Reading("total", 1)
    assert total(Reading("a", 1), PROBLEM, Reading.without("b", "absent", "gone")) == PROBLEM
    with pytest.raises(NeededError, match="no answer in time"):
        PROBLEM.need()


def test_what_is_needed_is_needed_where_it_becomes_a_problem() -> None:
    """Nobody else would catch it: each call of need() stands in a function with `or_problem`, and in no lambda."""
    for path in sorted((Path(__file__).parent.parent / "probe").rglob("*.py")):
        if ".need" not in (text := path.read_text()):
            continue
        tree = ast.parse(text)
        found = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
        calls = {node for node in found if node.func.attr == "need"}
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and "or_problem" in map(ast.unparse, function.decorator_list):
                inner = [node for node in ast.walk(function) if isinstance(node, ast.Lambda | ast.FunctionDef)]
                deferred = {node for each in inner if each is not function for node in ast.walk(each)}
                calls -= {node for node in ast.walk(function) if node not in deferred}
        assert not calls, f"{path}: {[(node.lineno, ast.unparse(node)) for node in calls]}"
