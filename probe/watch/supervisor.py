"""Signals, the one probe that may run, and the reaping of whatever is left."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence

from probe.watch.report_file import REPORT_LIMIT

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""Whoever executes `watch` blocks them first, so that none is lost until there is somebody to hear it."""

_VERDICTS = (0, 1, 2)  # exit codes that come from a verdict


class ProbeFailed(Exception):
    """A probe that gave no report."""


class Supervisor:
    """Signals, the one probe that may run, and the reaping: as PID 1, all orphans of the container become ours."""

    def __init__(self, command: list[str], timeout: float) -> None:
        """*timeout* in seconds, for a probe from its start to its end."""
        self.stop = False
        """SIGTERM or SIGINT came."""
        self.now = False
        """SIGHUP came."""
        self._command = command
        self._timeout = timeout
        self._child = 0
        self._status: int | None = None
        self._wakeup, write_end = os.pipe()
        for end in (self._wakeup, write_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._hear)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _hear(self, number: int, _frame: object) -> None:
        self.stop |= number in (signal.SIGTERM, signal.SIGINT)
        self.now |= number == signal.SIGHUP

    def wait(self, files: Sequence[int], deadline: float) -> bool:
        """True when one of *files* is readable; may be False after a signal or *deadline* (time.monotonic())."""
        poll = select.poll()  # select(2) knows no descriptor above 1023
        for file in (self._wakeup, *files):
            poll.register(file, select.POLLIN)
        ready = [file for file, _ in poll.poll(max(deadline - time.monotonic(), 0) * 1000)]
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
        self._reap()
        return any(file in ready for file in files)

    def probe(self, memory: int | None) -> bytes | None:
        """Output of a new probe, which has the file *memory* as descriptor 3; None on a signal to end.

        *Errors*: ProbeFailed.
        """
        deadline = time.monotonic() + self._timeout
        read_end = self._start(memory)
        try:
            content = self._read(read_end, deadline)
            while self._status is None and not self.stop and time.monotonic() < deadline:
                self.wait([], deadline)
            if self.stop:
                return None
            code = None if self._status is None else os.waitstatus_to_exitcode(self._status)
            if code not in _VERDICTS:
                raise ProbeFailed("it did not end" if code is None else f"exit code {code}")
            return content
        finally:
            os.close(read_end)
            self._end()

    def _start(self, memory: int | None) -> int:
        """Start a probe in a process group of its own; the end of a pipe where its output comes."""
        read_end, write_end = os.pipe()
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, write_end, 1)]
        command = self._command
        if memory is not None:
            actions.append((os.POSIX_SPAWN_DUP2, memory, 3))
            command = [*command, "--memory=3"]
        try:
            self._status = None
            self._child = os.posix_spawn(
                command[0],
                command,
                os.environ,
                file_actions=actions,
                setpgroup=0,
                setsigdef=(*SIGNALS, signal.SIGPIPE),
            )
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return read_end

    def _read(self, file: int, deadline: float) -> bytes:
        """All that comes from *file*, or what came until we were asked to end."""
        content = b""
        while not self.stop:
            if time.monotonic() >= deadline:
                raise ProbeFailed(f"no report within {self._timeout:g} s")
            if self.wait([file], deadline):
                chunk = os.read(file, 1 << 16)
                if not chunk:
                    break
                content += chunk
                if len(content) > REPORT_LIMIT:
                    raise ProbeFailed(f"the report has more than {REPORT_LIMIT} bytes")
        return content

    def _end(self) -> None:
        """Kill what is left of a probe; what is stuck in the kernel is reaped when it gets free, if ever."""
        self._reap()
        if self._status is None:
            os.killpg(self._child, signal.SIGKILL)
        self._child = 0

    def _reap(self) -> None:
        """Collect every child that ended, also those that were never ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._child:
                self._status = status
