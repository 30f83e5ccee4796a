"""What all tests share: prerequisites that may be missing on a laptop and may not be missing in CI."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from lab.real import packages
from tests.extent import EXAMPLES, HOSTILE_EXAMPLES

# No deadline: how long an example takes says how busy the machine is.
settings.register_profile("patient", max_examples=EXAMPLES, deadline=None)
settings.register_profile("hostile", max_examples=HOSTILE_EXAMPLES, deadline=None)
settings.load_profile("patient")

LANES = ("qemu", "real")
"""Marks whose tests run one after another in one process of pytest-xdist, the first ones from the first second on.

So no test that compares the whole machine (loop devices, modules, the kernel's log) runs at the same time as one that
changes it, as neither guests nor tests without a mark do.
"""


def pytest_configure() -> None:
    """Tests that were started in the background ignore Ctrl-C; what they start in order to interrupt it must not."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each lane its tests, and put the lanes in front."""
    for item in items:
        if lane := lane_of(item):
            item.add_marker(pytest.mark.xdist_group(lane))
    items.sort(key=lambda item: ([*LANES, ""].index(lane_of(item)), not item.get_closest_marker("whole_machine")))


def lane_of(item: pytest.Item) -> str:
    """The lane of that test; empty where it may run beside any other."""
    return next((mark for mark in LANES if item.get_closest_marker(mark)), "")


def pytest_report_header(config: pytest.Config) -> list[str]:
    if config.getoption("markexpr") == "not real":
        return []
    return [f"kernel: {os.uname().release}", f"runtimes: {packages.recorded() or 'none fetched yet'}"]
