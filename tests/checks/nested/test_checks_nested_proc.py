"""/proc of a rootless engine."""

from __future__ import annotations

import pytest

from lab.nested import HUNG, PASSED, REFUSED, asked, judged, status

UNMASKED = ["proc-mount Unmasked"]


@pytest.mark.parametrize("subset", [PASSED, REFUSED])
def test_masks_are_locked(subset: dict[str, str]) -> None:
    """With or without subset=pid, which no engine uses, Unmasked is needed."""
    answer = judged("nested-proc", {"rootless proc subset": subset})
    assert (status(answer), asked(answer)) == ("pass", UNMASKED)


def test_default_where_the_kernel_allows_it() -> None:
    answer = judged("nested-proc", {"rootless proc": PASSED})
    assert (status(answer), asked(answer)) == ("pass", [])


def test_refused_and_unknown() -> None:
    assert status(judged("nested-proc", {"unmasked proc": REFUSED})) == "fail NestedProcRefused"
    assert status(judged("nested-proc", {"unmasked proc": HUNG})) == "unknown TimedOut"
    assert status(judged("nested-proc", {"rootless proc": HUNG})) == "unknown TimedOut"
