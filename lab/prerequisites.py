"""What a test cannot do without: missing on a laptop it skips, in CI it fails."""

from __future__ import annotations

import os

import pytest


def require(condition: object, why: str) -> None:
    """Skip this test, naming *why*, unless *condition* holds. With CI=true fail: there nothing may be missing."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing in CI: {why}", pytrace=False)
    pytest.skip(f"missing: {why}")
