"""CPU of commands with all that they start, as the kernel accounts a cgroup of their own.

wait4(2) misses processes that are killed and never waited for, as the probe's file helper is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_NOT_RUN = 127  # as the shell says it


@dataclass(frozen=True)
class Command:
    """A command, and where it runs."""

    argv: Sequence[str]
    environment: dict[str, str]
    root: str = ""
    """Its root directory; empty for that of whoever measures."""


@dataclass(frozen=True)
class Account:
    """A cgroup, of version 1 or 2."""

    path: Path

    @property
    def cpu(self) -> float:
        """Seconds of CPU that all processes took that were ever in it."""
        usage = self.path / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        fields = dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
        return int(fields["usage_usec"]) / 1e6

    def run(self, command: Command) -> tuple[float, float]:
        """Wall and CPU seconds of one run, from execve(2) until the last process has ended. *Errors*: OSError."""
        read_end, write_end = os.pipe()
        before = self.cpu
        pid = os.fork()
        if pid == 0:
            self._become(command, write_end)
        os.close(write_end)
        _, status = os.waitpid(pid, 0)
        ended = time.monotonic()
        with open(read_end) as told:
            began = told.read()
        if not began or os.waitstatus_to_exitcode(status) == _NOT_RUN:
            raise OSError(f"{command.argv[0]} could not be run")
        while (self.path / "cgroup.procs").read_text():
            time.sleep(0.001)
        return ended - float(began), self.cpu - before

    def move(self, pid: int) -> None:
        """Put a process there that runs already, with all that it starts from now on."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def release(self) -> None:
        """Put whatever is in it back to where all processes are."""
        for pid in (self.path / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (self.path.parent / "cgroup.procs").write_text(pid)

    def _become(self, command: Command, told: int) -> None:
        """Join first: moving a process between cgroups takes as long as a grace period of the kernel."""
        try:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))
            os.setsid()
            # A scheduling group of its own that goes before others, or a busy machine would be what is measured.
            with suppress(OSError):
                Path("/proc/self/autogroup").write_text("-12")
            if command.root:
                os.chroot(command.root)
            os.chdir("/")
            null = os.open("/dev/null", os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            os.set_inheritable(told, False)
            os.write(told, repr(time.monotonic()).encode())
            os.execve(command.argv[0], list(command.argv), command.environment)
        finally:
            os._exit(_NOT_RUN)


@contextmanager
def account() -> Iterator[Account]:
    """A new cgroup in the controller that counts CPU."""
    parent = _CGROUPS / "cpuacct" if (_CGROUPS / "cpuacct").is_dir() else _CGROUPS
    path = parent / f"userns-probe-bench-{os.getpid()}"
    path.mkdir()
    try:
        yield Account(path)
    finally:
        path.rmdir()
