"""Inputs that are almost right: recordings, broken in the ways in which parsers break.

It stands in for a coverage-guided fuzzer where none is installed, and knows structure where that knows bytes.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

LARGEST = 1 << 17
"""Bytes of one input; what is larger is refused by a limit of its own before it is parsed."""

NUMBERS = (
    *("0", "-0", "-1", "00", "1e999", "-1e999", "1e-999", "NaN", "Infinity", "-Infinity", ".nan", ".inf", "0x", "0b2"),
    *("2147483648", "4294967295", "4294967296", "18446744073709551616", "9" * 400, "9" * 4301, "0" * 5000 + "1"),
    *("1_000", "\uff11\uff12", "٣", "1:2:3", "1.5", "+1"),
)
TEXTS = (
    *("", " ", "\0", "\n", "\r\n", "\t", "\x1b[2J\x1b]0;x\x07", "\u202egnp.exe", "\u2028", "\x85", "\ufeff", "é́", "𐏿"),
    *("../../etc/passwd", "/" * 300, "x" * 5000, "%s%n", "{{7*7}}", "<script>", "'\"><img src=x>", "${IFS}", "null"),
    *(
        "true",
        "True",
        "yes",
        "kubepods",
        "a\\",
        '"',
        "'",
        "[",
        "{",
        "- ",
        "? ",
        "#",
        "&a",
        "*a",
        "!!",
        "\\ud800",
        "\\x",
    ),
)
YAML = (
    *('!!int ""', '!!float ""', "!!bool x", "!!timestamp x", "!!binary x", "!!int 0x", "!!set {a}", "!!omap [a]"),
    *("!!python/object:os.system x", "!<> x", "2001-99-99", "190:20:30", "<<: x", "<<: {a: 1}", "? [a]\n: b", "=: 1"),
    *("%YAML 9.9\n---\n", "---\n", "...\n", "&a [*a]", "|\n  x", ">-\n  x"),
)
TOML = ("inf", "nan", "1979-05-27T07:32:00Z", "0xf", '"""', "'''", "a.b.c = 1\n", "[[a]]\n", "[a.b]\n", "{a = 1}")
BYTES = (b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\x00", b"\x80")
"""What is not UTF-8: a lone byte, half a character, a surrogate, beyond Unicode, an overlong NUL."""

TOKENS: tuple[bytes, ...] = (*(text.encode() for text in (*NUMBERS, *TEXTS, *YAML, *TOML)), *BYTES)

_NUMBER = re.compile(rb"\d+")
_WORD = re.compile(rb"[\w./~-]{2,}")


def mutated(corpus: Sequence[bytes], tokens: Sequence[bytes], dice: random.Random) -> bytes:
    """One of *corpus*, changed a few times; *tokens* are words that mean something to the parser."""
    data = dice.choice(corpus) if corpus else b""
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        data = dice.choice(_WAYS)(data, corpus, (*TOKENS, *tokens), dice)[:LARGEST]
    return data


Corpus = Sequence[bytes]


def _flip(data: bytes, _: Corpus, __: Corpus, dice: random.Random) -> bytes:
    if not data:
        return data
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def _cut(data: bytes, _: Corpus, __: Corpus, dice: random.Random) -> bytes:
    start, end = _slice(data, dice)
    return dice.choice((data[:start], data[start:], data[:start] + data[end:]))


def _insert(data: bytes, _: Corpus, tokens: Corpus, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.choice(tokens) + data[at:]


def _replace(data: bytes, _: Corpus, tokens: Corpus, dice: random.Random) -> bytes:
    """A word or a number becomes another one, so that the shape stays."""
    found = list(dice.choice((_NUMBER, _WORD)).finditer(data))
    if not found:
        return dice.choice(tokens)
    chosen = dice.choice(found)
    return data[: chosen.start()] + dice.choice(tokens) + data[chosen.end() :]


def _splice(data: bytes, corpus: Corpus, _: Corpus, dice: random.Random) -> bytes:
    other = dice.choice(corpus) if corpus else data
    return data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other) + 1) :]


def _repeat(data: bytes, _: Corpus, tokens: Corpus, dice: random.Random) -> bytes:
    start, end = _slice(data, dice)
    piece = data[start:end][:200] or dice.choice(tokens)
    return data[:start] + piece * dice.choice((2, 10, 1000, 20_000)) + data[end:]


def _nest(data: bytes, _: Corpus, __: Corpus, dice: random.Random) -> bytes:
    before, after = dice.choice(
        ((b"[", b"]"), (b'{"a":', b"}"), (b"- ", b""), (b"{a: ", b"}"), (b"a.", b""), (b"(", b")"))
    )
    depth, at = dice.choice((3, 100, 3000, 30_000)), dice.randrange(len(data) + 1)
    inner = dice.choice((b"", data))
    return data[:at] + before * depth + inner + after * dice.choice((depth, 0)) + data[at:]


def _lines(data: bytes, _: Corpus, __: Corpus, dice: random.Random) -> bytes:
    """Lines, or what NUL separates, in another order, twice, or missing."""
    separator = b"\0" if b"\0" in data[:4096] else b"\n"
    lines = data.split(separator)
    for _again in range(dice.randrange(1, 4)):
        chosen = dice.randrange(len(lines))
        lines[chosen : chosen + 1] = dice.choice(([], [lines[chosen]] * 2, [dice.choice(lines)]))
        lines = lines or [b""]
    return separator.join(lines)


def _json(data: bytes, _: Corpus, tokens: Corpus, dice: random.Random) -> bytes:
    """One value in a document of JSON becomes another kind of value, a name comes twice, or changes its case."""
    token = dice.choice(tokens).decode(errors="replace")
    try:
        document = json.loads(data)
        value: Any = dice.choice((None, True, False, 0, -1, 1e308, 1 << 80, token, [], {}, [document], {"a": document}))
        text = json.dumps(_put(document, value, dice))
    except (ValueError, RecursionError):
        return _replace(data, _, tokens, dice)
    if dice.random() < 0.3 and text.startswith("{") and len(text) > 2:
        text = f"{text[:-1]}, {text[1:-1].swapcase() if dice.random() < 0.5 else text[1:-1]}}}"
    return text.encode()


def _put(document: Any, value: Any, dice: random.Random) -> Any:
    if isinstance(document, dict) and document and dice.random() < 0.9:
        name = dice.choice(list(document))
        return document | {name: _put(document[name], value, dice)}
    if isinstance(document, list) and document and dice.random() < 0.9:
        at = dice.randrange(len(document))
        return [*document[:at], _put(document[at], value, dice), *document[at + 1 :]]
    return value


def _slice(data: bytes, dice: random.Random) -> tuple[int, int]:
    start = dice.randrange(len(data) + 1)
    return start, min(len(data), start + dice.choice((1, 4, 40, len(data))))


_WAYS: tuple[Callable[[bytes, Corpus, Corpus, random.Random], bytes], ...] = (
    *(_flip, _cut, _insert, _insert, _replace, _replace, _splice, _repeat, _nest, _lines, _json, _json),
)
