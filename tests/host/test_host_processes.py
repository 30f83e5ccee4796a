"""Processes as /proc shows them, told apart by what the kernel alone writes."""

from __future__ import annotations

import pytest

from probe.host.processes import is_stuck, parse_start

KILLED = "0000000000000100"
"""The set of signals with SIGKILL (9) alone."""


@pytest.mark.parametrize(
    ("status", "stuck"),
    [
        ({}, True),
        ({"SigPnd": "0000000000000000", "ShdPnd": KILLED}, True),
        ({"SigPnd": "0000000000000000"}, False),
        ({"SigPnd": "0000000000000080"}, False),
        ({"SigPnd": "0000000000000200"}, False),
        ({"State": "S (sleeping)"}, False),
        ({"State": "R (running)"}, False),
        ({"Uid": "1000\t1000\t1000\t1000"}, False),
        ({"Uid": "1000\t0\t0\t0"}, False),
        ({"Uid": "0\t0\t0\t1000"}, False),
    ],
)
def test_only_roots_killed_process_is_stuck(status: dict[str, str], stuck: bool) -> None:
    """A tenant may give a process of its own the name of a helper, and kill it while its disk is slow."""
    own = {"Uid": "0\t0\t0\t0", "State": "D (disk sleep)", "SigPnd": KILLED, "ShdPnd": "0000000000000000"}
    assert is_stuck(own | status) is stuck


def test_the_start_of_a_process_whose_name_looks_like_fields() -> None:
    """The name ends at the last parenthesis, whatever a process calls itself."""
    assert parse_start("7 (a) S 1) R 1 7 7 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 8766 2 3\n") == 8766


@pytest.mark.parametrize("stat", ["", "7 (a) R 1 7\n", "7 (a) R 1 7 7 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 many\n"])
def test_a_process_without_a_start_is_a_problem(stat: str) -> None:
    """As a ValueError, which readings know."""
    with pytest.raises(ValueError, match=r"starttime|invalid literal"):
        parse_start(stat)
