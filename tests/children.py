"""No test leaves a process: what it starts it ends and waits for, or hundreds would live until pytest itself ends."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

_first_seen: dict[int, str] = {}
"""The test after which a child was there for the first time, by pid."""


def children() -> list[int]:
    """Children of this process, zombies included."""
    found = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                found += [int(pid) for pid in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):  # the thread has ended
            continue
    return found


def pytest_runtest_logfinish(nodeid: str) -> None:
    for pid in children():
        _first_seen.setdefault(pid, nodeid)


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = set(children())
    yield
    left = [
        f"{pid} {_command(pid)!r}, since {_first_seen.get(pid, 'the last test')}"
        for pid in children()
        if _runs(pid, before)
    ]
    assert not left, "\n".join(["left over:", *left])


def _runs(pid: int, before: set[int]) -> bool:
    """Whether a child of the tests still runs.

    One that has ended is waited for here: on a busy machine probe.host.child leaves it before it has.
    """
    return pid not in before and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is None


def _command(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as command:
        return command.read()[:100]
