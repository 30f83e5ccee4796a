"""The most serious of several outcomes of one check."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from probe.checks.check import Outcome
from probe.checks.remedies.around import OF_REASON
from probe.checks.runtime.around import worst

ROOM, UMASK = "DirectoryNotWritable", "UmaskTooStrict"
WELL = Outcome.passed("it is well")
SCARCE = Outcome.warn("it is scarce")
FULL = Outcome.fail(ROOM, "it is full")
UNKNOWN = Outcome.unknown("not-readable", "unknown whether it is full")


@pytest.mark.parametrize(
    ("parts", "status", "remediation"),
    [
        ({ROOM: FULL, UMASK: UNKNOWN}, "fail", OF_REASON[ROOM]),
        ({UMASK: FULL}, "fail", OF_REASON[ROOM]),
        ({ROOM: replace(FULL, remediation="its own")}, "fail", "its own"),
        ({ROOM: WELL, UMASK: SCARCE}, "warn", OF_REASON[UMASK]),
        ({ROOM: replace(SCARCE, remediation="its own")}, "warn", "its own"),
        ({ROOM: SCARCE, UMASK: UNKNOWN}, "unknown", ""),
        ({ROOM: replace(UNKNOWN, remediation="its own")}, "unknown", "its own"),
        ({ROOM: WELL}, "pass", ""),
    ],
)
def test_its_remediation(parts: dict[str, Outcome], status: str, remediation: str) -> None:
    """Its own, else that of its reason; a warning has that of its part, and what is unknown has none."""
    found = worst(parts)
    assert (found.status, found.remediation) == (status, remediation)


def test_what_decides_comes_first_of_its_kind() -> None:
    """Then what no Pod of a trial disproves."""
    stands, decides = replace(UNKNOWN, stands=True, message="b"), replace(UNKNOWN, decides=True, message="c")
    assert worst({"A": UNKNOWN, "B": stands, "C": decides}).message == "c"
    assert worst({"A": UNKNOWN, "B": stands}).message == "b"
    assert worst({"A": replace(FULL, reason="Other", remediation="x"), ROOM: FULL, UMASK: decides}).status == "fail"
