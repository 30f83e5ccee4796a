"""Parts that can be published to a Node."""

from __future__ import annotations

from typing import Literal, get_args

Part = Literal["annotations", "label", "condition", "events"]
PARTS: tuple[Part, ...] = get_args(Part)


def parse_parts(text: str) -> frozenset[Part]:
    """`annotations,label` as a set; empty for empty text. *Errors*: ValueError for other words."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in PARTS:
            raise ValueError(f"{word!r} cannot be published: choose from {', '.join(PARTS)}")
    return frozenset(part for part in PARTS if part in words)
