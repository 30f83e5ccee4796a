"""Facts on their way from the process that gathers them to its parent, which judges them.

Pickled and not as JSON: to decode JSON, msgspec first evaluates the annotations of two hundred Structs, which takes 15
times as long as all of pickle. Both processes are the same program, one forked from the other.
"""

from __future__ import annotations

import pickle
from typing import cast

import msgspec

from probe.facts.model import Facts
from probe.reading import spelled_out


def pack(facts: Facts) -> bytes:
    """*facts* for `unpack`. Lone surrogates, which no output can encode, are escaped on the way."""
    try:
        msgspec.json.encode(facts)
    except UnicodeEncodeError:
        facts = msgspec.convert(spelled_out(msgspec.to_builtins(facts)), Facts)
    return pickle.dumps(facts, pickle.HIGHEST_PROTOCOL)


def unpack(packed: bytes) -> Facts:
    """The Facts that a child of this process packed."""
    return cast("Facts", pickle.loads(packed))  # noqa: S301 - of our own child
