"""How much the tests try: `scripts/test --fast` and `--all` say so in USERNS_PROBE_TESTS; CI's run lies in between.

`again` is said by lab/pythons.py, in CI on the image's Python: another Python has tried more inputs at the same time.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

EXTENT = os.environ.get("USERNS_PROBE_TESTS") or "ci"
FAST, ALL = EXTENT in ("fast", "again"), EXTENT == "all"

EXAMPLES = {"again": 5, "fast": 10, "ci": 50, "all": 100}[EXTENT]
"""Inputs that a property is tried with."""
HOSTILE_EXAMPLES = {"again": 5, "fast": 20, "ci": 30, "all": 150}[EXTENT]
"""Hostile reports that a property of the outputs is tried with, which costs most of all."""
CAMPAIGN_SCALE = {"again": 0.001, "fast": 0.001, "ci": 0.004, "all": 0.01}[EXTENT]
"""Share of a whole campaign of faults that needs no node."""

with_all = pytest.mark.skipif(not ALL, reason="takes minutes; scripts/test --all")


def some_slow(*values: object) -> list[Any]:
    """Parameters that `scripts/test --fast` leaves out: each costs time, and shows what the one that is left shows."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]
