"""Figures as people read them: each beside what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One line; the texts carry their units."""

    what: str
    measured: str
    compared: str
    ratio: float | None
    aim: str = ""


def render(rows: Sequence[Row]) -> str:
    """A table."""
    lines = [("", "measured", "compared with", "ratio", "aim")]
    lines += [(*row[:3], "" if row.ratio is None else f"{row.ratio:.2f}", row.aim) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"


def mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"
