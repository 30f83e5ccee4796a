"""The inventory for machines: JSON and its schema, and reading a kept one again.

Consumers ignore keys that they do not know: within one `schema` version keys are added, and none is removed or changes
its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from probe.fleet.inventory import Inventory
from probe.outputs.documents import schema_of

LARGEST = 512 << 20
"""Bytes of a kept inventory that is read."""


def render_json(inventory: Inventory) -> Iterator[str]:
    """The inventory as JSON in pieces, a line for each row: a large one is never held twice."""
    for index, name in enumerate(("schema", *(name for name in inventory.__struct_fields__ if name != "schema"))):
        value = getattr(inventory, name)
        yield f'{"," if index else "{"}\n"{name}": '
        if isinstance(value, tuple) and value:
            yield from (f"{',' if row else '['}\n  {encode(one)}" for row, one in enumerate(value))
            yield "\n]"
        else:
            yield encode(value)
    yield "\n}\n"


def encode(value: object) -> str:
    """*value* as JSON in ASCII alone, whatever the locale of stdout can show."""
    text = msgspec.json.encode(value).decode()
    return text if text.isascii() else json.dumps(json.loads(text), separators=(",", ":"))


def parse_inventory(content: bytes) -> Inventory:
    """A kept inventory. *Errors*: ValueError, for anything else."""
    try:
        return msgspec.json.decode(content, type=Inventory)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"no inventory of userns-probe fleet -o json: {error}") from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the inventory."""
    return schema_of("userns-probe.io/fleet/v1", Inventory)
