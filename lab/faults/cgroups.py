"""Cgroups in which probes are short of something, or stand still."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

from lab.faults.stage import WATCHDOG, BrokenError, Stage

_numbers = count()
_UNIFIED = "/sys/fs/cgroup"


@contextmanager
def cgroup(stage: Stage, controller: str) -> Iterator[str]:
    """A new cgroup with that controller; who stays in it long after is left behind."""
    path = f"{_hierarchy(controller)}/userns-probe-test-{os.getpid()}-{next(_numbers)}"
    os.mkdir(path)
    try:
        yield path
    finally:
        if not _removed(path):
            stage.left += _kill_all(path)
            _removed(path)


def _removed(path: str) -> bool:
    """Whether it could be removed, which takes until its last process is gone, but not for ever."""
    deadline = time.monotonic() + WATCHDOG
    while time.monotonic() < deadline:
        with suppress(OSError):
            os.rmdir(path)
        if not os.path.exists(path):
            return True
        time.sleep(0.01)
    return False


def _kill_all(path: str) -> list[str]:
    """The processes of that cgroup, by what they were."""
    found = []
    with open(f"{path}/cgroup.procs") as file:
        for pid in file.read().split():
            with suppress(OSError), open(f"/proc/{pid}/comm") as comm:
                found.append(f"process {comm.read().rstrip()}")
                os.kill(int(pid), signal.SIGKILL)
    return found


@contextmanager
def limited(
    stage: Stage, controller: str, file: str, unified: str, limit: int
) -> Iterator[tuple[tuple[str, ...], str]]:
    """A command that moves itself into a new cgroup with that limit, and becomes another; and that cgroup."""
    with cgroup(stage, controller) as path:
        write(f"{path}/{unified if _is_unified(path) else file}", limit)
        yield joining(path), path


def counted(cgroup: str, files: Sequence[str], key: str) -> int:
    """How often the kernel says that something happened there, in the first of those files that there is."""
    for name in files:
        with suppress(FileNotFoundError), open(f"{cgroup}/{name}") as file:
            return next((int(line.split()[1]) for line in file if line.split()[0] == key), 0)
    raise BrokenError(f"none of {files} is in {cgroup}")


@contextmanager
def freezer(stage: Stage) -> Iterator[tuple[tuple[str, ...], Callable[[bool], None]]]:
    """A command that moves itself into a new cgroup and becomes another, and what stops and continues all in there."""
    with cgroup(stage, "freezer") as path:

        def freeze(still: bool) -> None:
            if _is_unified(path):
                write(f"{path}/cgroup.freeze", int(still))
            else:
                write(f"{path}/freezer.state", "FROZEN" if still else "THAWED")

        try:
            yield joining(path), freeze
        finally:
            freeze(False)


def joining(cgroup: str) -> tuple[str, ...]:
    """A command that moves itself there and becomes the one that follows."""
    return "sh", "-c", f'echo $$ > {cgroup}/cgroup.procs && exec "$0" "$@"'


def write(path: str, value: object) -> None:
    """A file of the kernel's."""
    with open(path, "w") as file:
        file.write(str(value))


def no_cgroup(controller: str) -> Callable[[], str]:
    """What says that no cgroup with that controller can be made here."""
    return lambda: "" if _hierarchy(controller) else f"cgroup controller {controller}"


def _hierarchy(controller: str) -> str:
    """Where cgroups with that controller can be made; empty where they cannot."""
    own = f"{_UNIFIED}/{controller}"
    if os.access(f"{own}/cgroup.procs", os.W_OK):
        return own
    with suppress(OSError), open(f"{_UNIFIED}/cgroup.subtree_control") as file:
        return _UNIFIED if controller in ("freezer", *file.read().split()) else ""
    return ""


def _is_unified(cgroup: str) -> bool:
    return os.path.exists(f"{cgroup}/cgroup.freeze")
