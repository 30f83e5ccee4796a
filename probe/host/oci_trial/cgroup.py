"""The cgroup of the OCI runtime trial: one trial at a time, and no cgroup left behind."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CGROUP = "userns-probe-trial"
"""Name of the container's cgroup, right below the root of each hierarchy."""

_CGROUP_ROOT = "/sys/fs/cgroup"
_LOCK_PAUSE = 0.05
_KILL_ROUNDS = 10  # at processes that make others meanwhile
_PROCS_LIMIT = 1 << 16  # characters: more processes than a trial ever has


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
    """Send SIGKILL to every process in the trial's cgroup *name* and below it.

    With version 1 of cgroups that is each process that has a PID in this PID namespace.

    *Source*: `cgroup.kill` of cgroup v2 since Linux 5.14; `cgroup.procs` before.
    """
    for hierarchy in hierarchies():
        cgroup = f"{hierarchy}/{name}"
        try:
            with open(f"{cgroup}/cgroup.kill", "w") as file:
                file.write("1")
        except OSError:
            for _ in range(_KILL_ROUNDS):
                killed = [_kill_processes(directory) for directory, _, _ in os.walk(cgroup)]
                if not any(killed):
                    break


def _kill_processes(cgroup: str) -> bool:
    """False when nothing was in *cgroup* itself; its processes may have made others meanwhile."""
    found = _processes(cgroup)
    for pid in found:
        with suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                # A PID that is still listed was not given to a process elsewhere before its pidfd was opened.
                if pid in _processes(cgroup):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)
    return bool(found)


def _processes(cgroup: str) -> set[int]:
    """PIDs in *cgroup* itself, without those of other PID namespaces, which are listed as 0."""
    try:
        with open(f"{cgroup}/cgroup.procs") as file:
            return {int(line) for line in file.readlines(_PROCS_LIMIT)} - {0}  # whole lines: no PID is cut off
    except OSError:
        return set()


def _left(name: str) -> list[str]:
    return [path for hierarchy in hierarchies() if os.path.isdir(path := f"{hierarchy}/{name}")]


def hierarchies() -> list[str]:
    """The root of cgroup v2, or of each hierarchy where version 1 is mounted below /sys/fs/cgroup."""
    if os.path.exists(f"{_CGROUP_ROOT}/cgroup.controllers"):
        return [_CGROUP_ROOT]
    below = (entry.path for entry in os.scandir(_CGROUP_ROOT) if entry.is_dir(follow_symlinks=False))
    return [path for path in below if os.path.exists(f"{path}/cgroup.procs")]
