"""The cgroup of the OCI runtime trial: one trial at a time, and no cgroup left behind."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CGROUP = "userns-probe-trial"
"""Name of the container's cgroup, right below the root of each hierarchy."""

_CGROUP_ROOT = "/sys/fs/cgroup"
_LOCK_PAUSE = 0.05


@contextmanager
def sole_trial(directory: str = _CGROUP_ROOT, until: float = 0.0) -> Iterator[bool]:
    """Lock *directory*; yields False when another trial holds it still at *until* (time.monotonic()).

    The lock lasts as long as the context. It ends with the processes that have its descriptor, and leaves nothing
    behind.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not (alone := _lock(fd)) and time.monotonic() < until:
            time.sleep(_LOCK_PAUSE)
        yield alone
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sweep_trial_cgroups() -> bool:
    """Remove what a trial that was killed has left behind; False when it is still there.

    To be called in the node's mount namespace, whenever a probe starts. That of a trial under way is left alone.
    """
    try:
        if not _left(CGROUP):
            return True
        with sole_trial() as alone:
            return alone and remove_cgroups(0.0)
    except OSError:
        return False


def remove_cgroups(timeout: float, name: str = CGROUP) -> bool:
    """Remove the trial's cgroup *name* from each hierarchy; False when one is still there after *timeout* seconds.

    Only rmdir(2), which takes none that has a process in it: whoever lives there, nobody is ended.
    """
    deadline = time.monotonic() + timeout
    while left := _left(name):
        for path in left:
            for directory, _, _ in os.walk(path, topdown=False):
                with suppress(OSError):
                    os.rmdir(directory)
        if time.monotonic() > deadline:
            return not _left(name)
        time.sleep(0.002)
    return True


def end_cgroup(name: str) -> None:
    """End every process in the trial's cgroup *name*, whatever PID namespace it is in, where a hierarchy can do that.

    *Source*: `cgroup.kill` of cgroup v2, since Linux 5.14.
    """
    for hierarchy in hierarchies():
        with suppress(OSError), open(f"{hierarchy}/{name}/cgroup.kill", "w") as file:
            file.write("1")


def _left(name: str) -> list[str]:
    return [path for hierarchy in hierarchies() if os.path.isdir(path := f"{hierarchy}/{name}")]


def hierarchies() -> list[str]:
    """The root of cgroup v2, or of each hierarchy where version 1 is mounted below /sys/fs/cgroup."""
    if os.path.exists(f"{_CGROUP_ROOT}/cgroup.controllers"):
        return [_CGROUP_ROOT]
    below = (entry.path for entry in os.scandir(_CGROUP_ROOT) if entry.is_dir(follow_symlinks=False))
    return [path for path in below if os.path.exists(f"{path}/cgroup.procs")]
