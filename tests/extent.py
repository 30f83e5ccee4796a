"""How much the tests try: `scripts/test --fast` and `--all` say so in USERNS_PROBE_TESTS; CI's run lies in between."""

from __future__ import annotations

import os
from typing import Any

import pytest

FAST = os.environ.get("USERNS_PROBE_TESTS") == "fast"
ALL = os.environ.get("USERNS_PROBE_TESTS") == "all"

EXAMPLES = 20 if FAST else 100 if ALL else 50
"""Inputs that a property is tried with."""
HOSTILE_EXAMPLES = 20 if FAST else 150 if ALL else 30
"""Hostile reports that a property of the outputs is tried with, which costs most of all."""
CAMPAIGN_SCALE = 0.001 if FAST else 0.01
"""Share of a whole campaign of faults that needs no node."""


def some_slow(*values: object) -> list[Any]:
    """Parameters that `scripts/test --fast` leaves out: each costs time, and shows what the one that is left shows."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]
