"""What all tests share: prerequisites that may be missing on a laptop and may not be missing in CI."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import configuration, settings

from lab.real import packages
from lab.real.debian import cache
from probe.host.host import LocalHost
from tests.extent import EXAMPLES, HOSTILE_EXAMPLES

# A plugin, as a session fixture that a module imports is made once more for that module.
pytest_plugins = ["tests.children", "tests.real.fixtures"]

# What it makes of Unicode and of the constants in our modules takes seconds, in each process of a new checkout.
configuration.set_hypothesis_home_dir(cache("hypothesis"))
# No deadline: how long an example takes says how busy the machine is.
settings.register_profile("patient", max_examples=EXAMPLES, deadline=None)
settings.register_profile("hostile", max_examples=HOSTILE_EXAMPLES, deadline=None)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Tests that were started in the background ignore Ctrl-C; what they start in order to interrupt it must not."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if without_kernel(config):
        # jsonschema would compile 38 grammars for formats of IRIs, which only the image's bill of materials has.
        sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]


COLLECTED = pytest.StashKey[list[pytest.Item]]()
"""All tests, also those that -m leaves out."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the tests that compare the whole machine before and after, as nothing settles yet.

    Tests that run programs come last, when the other process that runs tests no longer compares.
    """
    config.stash[COLLECTED] = [*items]
    order = {"whole_machine": -1, "program": 1}
    items.sort(key=lambda item: sum(order.get(mark.name, 0) for mark in item.iter_markers()))


def without_kernel(config: pytest.Config) -> bool:
    """Whether no real test runs."""
    return str(config.getoption("markexpr")).startswith("not real")


@pytest.fixture
def local_host() -> Iterator[LocalHost]:
    """This machine; the child that reads its files ends with the test."""
    with closing(LocalHost()) as host:
        yield host


def pytest_report_header(config: pytest.Config) -> list[str]:
    if without_kernel(config):
        return []
    return [f"kernel: {os.uname().release}", f"runtimes: {packages.recorded() or 'none fetched yet'}"]
