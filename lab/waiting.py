"""Waiting without a limit of its own."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object]) -> None:
    """Return when *condition* holds; the test's own timeout is the only limit."""
    while not condition():
        time.sleep(0.01)
