"""Documents of a manifest, YAML or JSON: bounded, each for itself, so that a bad one costs only itself."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from probe.pod.yaml_values import parse_yaml
from probe.reading import spelled_out

BYTES = 64 << 20
"""Most bytes of all manifests together."""
DOCUMENTS = 100_000
BAD_LINES = 100
"""Malformed JSON values after which a stream is not read on."""

_SEPARATOR = re.compile(r"^---(?=\s|\Z)", re.MULTILINE)
_BLANKS = re.compile(r"\s*")
_NO_CONTENT = re.compile(r"([ \t\r]*([%#][^\n]*)?(\n|\Z))*")


class Document(Struct, frozen=True):
    """One document of a stream, or why it is none."""

    number: int
    """From 1 on."""
    value: Any = None
    problem: str = ""


def parse_documents(content: bytes) -> Iterator[Document]:
    """Documents of *content* that are not empty, in their order: UTF-8, or UTF-16 with a byte order mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16", "replace").encode()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Document(1, problem=f"is not UTF-8 at byte {error.start}")
        return
    if text.lstrip()[:1] in ("{", "["):
        values = _parse_json(content, text)
        if values is not None:
            yield from values
            return
    for number, part in enumerate(_split(text), 1):
        if number > DOCUMENTS:
            yield _too_many()
            return
        try:
            yield from (Document(number, value) for value in parse_yaml(part))
        except ValueError as error:
            yield Document(number, problem=str(error))


class _List(Struct):
    kind: str
    items: tuple[msgspec.Raw, ...]


def _parse_json(content: bytes, text: str) -> Iterable[Document] | None:
    """The JSON values of *content*, one after the other; None when it is not JSON, but may be YAML that looks so."""
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        found = msgspec.json.decode(content, type=_List)
        if found.kind.endswith("List"):
            return (_item(found.kind, number, item) for number, item in enumerate(found.items))
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return (Document(1, msgspec.json.decode(content)),)
    except (msgspec.DecodeError, RecursionError):
        return _parse_many(text)


def _item(kind: str, number: int, content: msgspec.Raw) -> Document:
    """A list with one item, so that only one is in memory as a whole."""
    try:
        return Document(1, {"kind": kind, "items": [msgspec.json.decode(content)]})
    except (msgspec.DecodeError, RecursionError) as error:
        return Document(1, problem=f"items[{number}]: {str(error)[:200]}")


def _parse_many(text: str) -> list[Document] | None:
    """Values one after the other, with lone surrogates escaped, which msgspec takes in no text.

    After a value a malformed one costs itself and what follows up to the next line that begins with a brace.
    """
    found: list[Document] = []
    decoder, at, bad = json.JSONDecoder(), _space_after(text, 0), 0
    while at < len(text) and len(found) < DOCUMENTS:
        try:
            value, at = decoder.raw_decode(text, at)
            found.append(Document(len(found) + 1, spelled_out(value)))
        except (ValueError, RecursionError) as error:
            if not found or text[at] in "-#.":
                return None
            bad += 1  # each is looked for in the whole text, to name its line
            rest = "" if bad < BAD_LINES else f"; it is the {BAD_LINES}th, and what follows was not read"
            found.append(Document(len(found) + 1, problem=f"is not JSON: {str(error)[:200]}{rest}"))
            at = -1 if rest else text.find("\n{", at)
            at = len(text) if at < 0 else at
        at = _space_after(text, at)
    return [*found, _too_many()] if at < len(text) else found


def _too_many() -> Document:
    """The first document after DOCUMENTS of them."""
    return Document(DOCUMENTS + 1, problem=f"is one of more than {DOCUMENTS}: it and those after it were not read")


def _space_after(text: str, at: int) -> int:
    """End of the blanks after *at*."""
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _split(text: str) -> Iterator[str]:
    """Parts between `---` in front of a line, as kubectl splits a stream before it reads any YAML."""
    at = 0
    for found in _SEPARATOR.finditer(text):
        if at or not _NO_CONTENT.fullmatch(text, 0, found.start()):
            yield text[at : found.start()]
        at = found.end()
    yield text[at:]
