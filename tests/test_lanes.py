"""How scripts/test shares the tests between two processes."""

from __future__ import annotations

import pytest


def test_what_looks_at_the_machine_runs_one_after_another(request: pytest.FixtureRequest) -> None:
    """All guests are one lane, all other real tests another one; both come before the tests that may run anywhere."""
    lanes = [lane(item) for item in request.session.items]
    assert lanes == sorted(lanes, key=("qemu", "real", "").index)
    for item in request.session.items:
        assert item.get_closest_marker("real") or not item.get_closest_marker("qemu"), f"{item}: a guest needs root"


def lane(item: pytest.Item) -> str:
    """The lane that its marks demand, if it is in that one."""
    wanted = next((mark for mark in ("qemu", "real") if item.get_closest_marker(mark)), "")
    groups = [mark.args[0] for mark in item.iter_markers("xdist_group")]
    assert groups == ([wanted] if wanted else []), f"{item} is in {groups}"
    return wanted
