"""Versions in the tables: tuples of numbers."""

from __future__ import annotations

from collections.abc import Sequence


def spelled(version: Sequence[int]) -> str:
    """`6.12` for (6, 12), `2.3.0` for (2, 3, 0)."""
    return ".".join(map(str, version))
