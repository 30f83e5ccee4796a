"""Parts of a document whose types are whatever its writer chose. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def at(value: Any, *path: str) -> Any:
    """The value at *path* of nested mappings; None without it."""
    for name in path:
        value = mapping(value).get(name)
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """*value*, empty when it is not a mapping."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """*value*, empty when it is not a list."""
    return value if isinstance(value, list) else []


def text_of(value: Any) -> str:
    """*value*, empty when it is not a string."""
    return value if isinstance(value, str) else ""
