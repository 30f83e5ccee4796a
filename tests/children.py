"""No test leaves a process: what it starts it ends and waits for, or hundreds would live until pytest itself ends."""

from __future__ import annotations

import os
import signal
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
    left = [f"{pid} {status}, since {_first_seen.get(pid)}" for pid in children() if (status := _status(pid, before))]
    assert not left, "\n".join(["left over:", *left])


def _status(pid: int, before: set[int]) -> str:
    """What a child is, or empty when it may be there.

    probe.host.child waits a moment for a child that it has killed; on a busy machine that may end later.
    """
    if pid in before:
        return ""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    if ended is None:
        with open(f"/proc/{pid}/cmdline") as command:
            return f"runs {command.read()[:100]!r}"
    killed = ended.si_code == os.CLD_KILLED and ended.si_status == signal.SIGKILL
    return "" if killed else f"was not waited for (status {ended.si_status})"
