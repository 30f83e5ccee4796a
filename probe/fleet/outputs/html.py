"""The inventory as one self-contained file for an auditor: summary first, sortable, printable, light and dark."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from probe.fleet.inventory import Inventory
from probe.fleet.outputs.cards import cards_of
from probe.fleet.outputs.parts import parts_of
from probe.fleet.outputs.words import problems
from probe.outputs.templating import environment_of
from probe.terms import Status

if TYPE_CHECKING:
    import jinja2

ROWS = 2000
"""Rows of one table."""
_LONGEST = 2000
"""Characters of one string."""
_LONG_WORD = 36
"""Characters of a word that fits any column."""
_STATES: dict[str, Status] = {"read": "pass", "partial": "warn", "unknown": "unknown", "not-served": "skipped"}


def render_html(inventory: Inventory) -> str:
    """The whole file."""
    return _template().render(
        one=inventory,
        name=inventory.cluster or "this cluster",
        cards=cards_of(inventory),
        problems=problems(inventory),
        parts=parts_of(inventory),
        states=_STATES,
    )


def _has_long_word(cell: str | int) -> bool:
    """Whether a browser must break a word of the cell, so that its table fits the page."""
    return any(len(word) > _LONG_WORD for word in str(cell).split())


def _file(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Content-Security-Policy: this file's own style and script, and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@lru_cache
def _template() -> jinja2.Template:
    """The template; each string that it prints goes through `visible` and is escaped."""
    from markupsafe import Markup

    style, script = _file("fleet.css"), _file("fleet.js")
    environment = environment_of("probe.fleet.outputs", _LONGEST)
    environment.filters["long"] = lambda cell: Markup(' class="long"' if _has_long_word(cell) else "")  # noqa: S704 - ours
    environment.globals |= {
        "style": Markup(style),  # noqa: S704 - ours
        "script": Markup(script),  # noqa: S704 - ours
        "policy": _policy(style, script),
        "limit": ROWS,
    }
    return environment.get_template("fleet.html.j2")
