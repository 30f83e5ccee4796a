"""What all tests share: prerequisites that may be missing on a laptop and may not be missing in CI."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from lab.real import packages

settings.register_profile("patient", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("patient")


def pytest_configure() -> None:
    """Tests that were started in the background ignore Ctrl-C; what they start in order to interrupt it must not."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> list[str]:
    if config.getoption("markexpr") == "not real":
        return []
    return [f"kernel: {os.uname().release}", f"runtimes: {packages.recorded() or 'none fetched yet'}"]
