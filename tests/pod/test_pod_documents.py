"""Streams of documents: a bad one costs only itself, and no stream costs more than it is long."""

from __future__ import annotations

import json
import re
import tracemalloc
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.pod import documents
from probe.pod.documents import BAD_LINES, DOCUMENTS, parse_documents
from tests.extent import EXAMPLES

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
WORDS = st.text(max_size=20).filter(lambda text: not re.match(r"[-+.]*[0-9]", text))
KEYS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=5).filter(lambda key: key != "<<")
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False), WORDS
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=6)


def values(content: str | bytes) -> list[Any]:
    return [one.value for one in parse_documents(content.encode() if isinstance(content, str) else content)]


def problems(content: str | bytes) -> list[tuple[int, str]]:
    found = parse_documents(content.encode() if isinstance(content, str) else content)
    return [(one.number, one.problem) for one in found if one.problem]


@pytest.mark.slow
@settings(max_examples=min(40, EXAMPLES))
@given(st.dictionaries(KEYS, VALUES, min_size=1))
def test_yaml_is_read_as_others_read_it(value: dict[str, Any]) -> None:
    """What PyYAML writes, with and without anchors, comes back."""
    text = yaml.safe_dump(value, allow_unicode=True)
    assert values(f"---\n{text}") == [yaml.safe_load(text)]


@pytest.mark.slow
@settings(max_examples=20)
@given(st.lists(st.dictionaries(KEYS, VALUES, min_size=1), min_size=1, max_size=3))
def test_json_is_read_as_others_read_it(found: list[dict[str, Any]]) -> None:
    """One after the other, as kubectl and jq print it."""
    assert values("\n".join(json.dumps(one) for one in found)) == found


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.from_regex(r"[-\[\]{}&*a: \n\"'!|>%<?]*").map(str.encode)
)
def test_nothing_raises(content: bytes) -> None:
    """Any bytes are documents, or problems that say why not."""
    for one in parse_documents(content):
        assert one.problem or one.value is not None


def test_words_of_yaml() -> None:
    """Words mean what kubectl takes them for: YAML 1.1, without its `y` and `n`; whole numbers are integers."""
    numbers = "010, 0x1F, 0o17, 0b11, 1_0, 1:30, 1e3, 08, 1e22, 1_a, .5, -7"
    text = f"[yes, Off, y, n, {numbers}, ~, null, 'yes', \"1\", !!str 1, 2026-01-01]"
    read = [
        True,
        False,
        "y",
        "n",
        8,
        31,
        15,
        3,
        10,
        "1:30",
        1000,
        8,
        1e22,
        "1_a",
        0.5,
        -7,
        None,
        None,
        "yes",
        "1",
        "1",
        "2026-01-01",
    ]
    assert repr(values(f"a: {text}")) == repr([{"a": read}])


def test_anchors() -> None:
    """An alias is what its anchor names; a merge key gives way to what is there."""
    assert values("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a") == [
        {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}
    ]


@pytest.mark.parametrize(
    "bad",
    ["a: [", BOMB, "a: &a [*a]", "[" * 5000, "{a: " * 200, "{" * 5000, "? [a]\n: b", "a: *b", "a: 1\n<<: 2", "a: \x01"],
    ids=["syntax", "bomb", "circle", "deep", "deep-mapping", "braces", "key", "alias", "merge", "control"],
)
def test_a_bad_document_costs_only_itself(bad: str) -> None:
    """It is one problem with its number, and those around it are read."""
    text = f"x: 1\n---\n{bad}\n---\n# nothing\n---\nx: 2\n"
    assert [one for one in values(text) if one] == [{"x": 1}, {"x": 2}]
    ((number, words),) = problems(text)
    assert number == 2
    assert "\n" not in words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfa", "UTF-8"),
        (b'{"a": [1, }', ""),
        (b'["\xed\xa0\x80"]', "UTF-8"),
        ("a: 1".encode("utf-16-le"), "control"),
    ],
)
def test_what_is_no_text_or_no_json(content: bytes, words: str) -> None:
    ((number, problem),) = problems(content)
    assert number == 1
    assert words in problem


@pytest.mark.parametrize(
    ("text", "found", "bad"),
    [
        ('{"a": 1}}', [{"a": 1}], 1),
        ('{"a": 1}\n{"a": 2\n{"a": 3}\n', [{"a": 1}, {"a": 3}], 1),
        ('{"a": 1}\n{"a": ' + "[" * 5000 + '\n{"a": 3}', [{"a": 1}, {"a": 3}], 1),
        ('{"a": 1}\n---\nb: 2\n', [{"a": 1}, {"b": 2}], 0),
        ('{"a": 1} # first\n', [{"a": 1}], 0),
    ],
)
def test_a_bad_line_of_json_costs_only_itself(text: str, found: list[Any], bad: int) -> None:
    """Lines before and behind it are read; a stream of YAML that begins with JSON is one of YAML."""
    assert [one for one in values(text) if one is not None] == found
    assert len(problems(text.encode())) == bad


def test_bad_lines_of_json_are_bounded() -> None:
    """Hundreds of thousands of them end the stream, and the last problem says so."""
    found = problems(b'{"a": 1}\n' + b"{\n" * 200_000)
    assert len(found) == BAD_LINES
    assert "not read" in found[-1][1]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_byte_order_marks(encoding: str) -> None:
    """As shells of Windows write them."""
    assert [one.value for one in parse_documents("a: ä\n---\nb: 1\n".encode(encoding))] == [{"a": "ä"}, {"b": 1}]


def test_tags() -> None:
    """A tag of a boolean or a number says what the scalar is, any other that it is a string."""
    text = "[!!bool off, !!int '7', !!str off, !mine off, !!bool yes]"
    assert values(text) == [[False, 7, "off", "off", True]]


def test_separators() -> None:
    """Directives and comments are no document, and what stands behind a separator is part of one."""
    text = "%YAML 1.1\n# first\n--- {a: 1}\n--- # second\nb: 2\n---\n---x: 3\n----: 4\n--- c\n---"
    assert values(text) == [{"a": 1}, {"b": 2}, {"---x": 3, "----": 4}, "c"]
    assert values("\n" * 200_000 + "a: 1\n---\nb: 2") == [{"a": 1}, {"b": 2}]
    assert values(" \t\n" * 100_000 + "---\nb: 2") == [{"b": 2}]


@pytest.mark.parametrize("kind", ["Pod", None])
def test_a_list_is_read_item_by_item(kind: str | None) -> None:
    """Of a long list as kubectl prints it never two objects are in memory, and none is there twice."""
    items: list[Any] = [{"a": 1}, 7, {"a": 2}]
    if kind:
        items = [{"kind": kind, "a": 1}, {"kind": kind, "a": 2}]
    whole = {"apiVersion": "v1", "items": items, "kind": "PodList"}
    for text in (json.dumps(whole), yaml.safe_dump(whole)):
        found = list(parse_documents(text.encode()))
        assert [item for one in found for item in one.value["items"]] == items
        assert {one.value["kind"] for one in found} <= {"List", "PodList"}
        assert len(found) >= len(items) or not kind


def test_a_list_that_is_cut_off() -> None:
    """What came before is read."""
    found = list(parse_documents(b"kind: List\nitems:\n- kind: Pod\n  a: 1\n- kind: Pod\n  a: [\n"))
    assert [one.value and one.value["items"] for one in found] == [[{"kind": "Pod", "a": 1}], None]
    assert found[-1].problem


def test_too_many_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are too many are one problem, and the others are read."""
    monkeypatch.setattr(documents, "DOCUMENTS", 10)
    found = list(parse_documents(b"a: 1\n---\n" * 100))
    assert [one.value for one in found[:-1]] == [{"a": 1}] * 10
    assert "more than 10" in found[-1].problem


def test_too_much_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds for JSON, one value after the other; exactly as many as are read are no problem."""
    monkeypatch.setattr(documents, "DOCUMENTS", 10)
    found = list(parse_documents(b'{"a": 1}\n' * 11))
    assert [one.value for one in found[:-1]] == [{"a": 1}] * 10
    assert (found[-1].number, "more than 10" in found[-1].problem) == (11, True)
    assert not problems(b'{"a": 1}\n' * 10)


@pytest.mark.slow
def test_memory_does_not_grow_with_documents() -> None:
    """One document at a time: thousands take what one takes, beside the text itself."""
    text = b"a: {b: [1, 2, 3]}\n---\n" * 2000
    tracemalloc.start()
    assert sum(1 for _ in parse_documents(text)) == 2000 < DOCUMENTS
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * len(text)
