"""What each part of a campaign has to come to."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lab.faults.campaign import Row
from lab.prerequisites import require

SEED = int(os.environ.get("USERNS_PROBE_SEED", "1"))


def judge(rows: Iterable[Row]) -> None:
    """Every row is clean, and there is none of which something was missing."""
    print(f"seed {SEED}")  # noqa: T201 - shown when it fails
    done = list(rows)
    failed = [row for row in done if not row.clean]
    assert not failed, failed
    require(all(row.injected for row in done), ", ".join(row.fault for row in done if not row.injected))
