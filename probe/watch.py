"""The supervisor: a fresh probe every interval, its report put in place of the last one.

It runs as a script, imports the standard library alone, listens to nobody, and holds nothing but the directory of the
report. A probe is a process of its own; whatever becomes of it, the last report stays, and its age shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

REPORT_LIMIT = 1 << 20
"""Bytes of a report: two of them fit into the volume that the containers share."""
JITTER = 0.1
"""Share of the interval by which each probe comes earlier or later, so that nodes do not probe in step."""
LINE_LIMIT = select.PIPE_BUF
"""Bytes of a line of the log: so many a pipe takes at once when it is ready, though nobody reads it."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""Whoever executes this file blocks them first, so that none is lost until there is somebody to hear it."""

_USAGE = 64
_GRACE = 5.0  # seconds that a probe may take beyond its budget
_VERDICTS = (0, 1, 2)  # exit codes that come from a verdict
_PROBE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")


class ProbeFailed(Exception):
    """A probe that gave no report."""


def watch(directory: int, name: str, interval: float, supervisor: Supervisor) -> None:
    """Probe until SIGTERM or SIGINT, at once on SIGHUP; the report is *name* in the open *directory*."""
    while not supervisor.stop:
        supervisor.now = False  # a SIGHUP during the probe asks for another one: this one may have looked too early
        began = time.monotonic()
        _round(supervisor, directory, name)
        following = next_probe(began, time.monotonic(), interval, _chance())
        while not (supervisor.stop or supervisor.now) and time.monotonic() < following:
            supervisor.wait([], following)


def next_probe(began: float, ended: float, interval: float, chance: float) -> float:
    """When to probe again after a probe; *chance* of 0 to 1 makes it earlier or later. *Units*: seconds of one clock.

    However long a probe takes, the node has at least as long a rest from it.
    """
    return max(began + interval * (1 - JITTER + 2 * JITTER * chance), 2 * ended - began)


def _round(supervisor: Supervisor, directory: int, name: str) -> None:
    """One probe. Whatever goes wrong, there will be another one."""
    try:
        content = supervisor.probe()
        if content is not None:
            verdict = _verdict(content)
            _replace(directory, name, content)
            log("probed", verdict=verdict)
    except ProbeFailed as failure:
        log("probe_failed", "error", reason=str(failure))
    except Exception as error:
        log("round_failed", "error", reason=f"{type(error).__name__}: {error}")


class Supervisor:
    """Signals, the one probe that may run, and the reaping: as PID 1, all orphans of the container become ours."""

    def __init__(self, command: list[str], patience: float) -> None:
        """*patience* in seconds, for a probe from its start to its end."""
        self.stop = False
        """SIGTERM or SIGINT came."""
        self.now = False
        """SIGHUP came."""
        self._command = command
        self._patience = patience
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
        """Whether one of *files* is ready; False once a signal came or *deadline* (time.monotonic()) passed."""
        poll = select.poll()  # select(2) knows no descriptor above 1023
        for file in (self._wakeup, *files):
            poll.register(file, select.POLLIN)
        ready = [file for file, _ in poll.poll(max(deadline - time.monotonic(), 0) * 1000)]
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
        self._reap()
        return any(file in ready for file in files)

    def probe(self) -> bytes | None:
        """What a fresh probe printed; None when asked to end meanwhile. *Errors*: ProbeFailed."""
        deadline = time.monotonic() + self._patience
        read_end = self._start()
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

    def _start(self) -> int:
        """Start a probe in a process group of its own; the end of a pipe where its output comes."""
        read_end, write_end = os.pipe()
        try:
            self._status = None
            self._child = os.posix_spawn(
                self._command[0],
                self._command,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, write_end, 1),
                ],
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
                raise ProbeFailed(f"no report within {self._patience:g} s")
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


def _verdict(content: bytes) -> str:
    """What the report says, if it is whole. *Errors*: ProbeFailed."""
    try:
        return str(json.loads(content)["verdict"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ProbeFailed("what it printed is no report") from error


def _replace(directory: int, name: str, content: bytes) -> None:
    """Put the report in place at once: readers see the old one or the new one, never a part."""
    temporary = f".{name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)  # of a predecessor that was killed between open and rename
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o644, dir_fd=directory)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o644)  # `serve` is another user, whatever the umask here
            file.write(content)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        os.unlink(temporary, dir_fd=directory)
        raise


def _chance() -> float:
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)


def log(event: str, level: str = "info", **fields: object) -> None:
    """One line on stderr: JSON for machines, words on a terminal."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = render_line({"event": event, **fields, "level": level, "timestamp": moment})
    if os.isatty(2):
        bold, plain = ("", "") if os.environ.get("NO_COLOR") else ("\x1b[1m", "\x1b[0m")
        words = " ".join(f"{key}={json.dumps(value)}" for key, value in fields.items())
        line = f"{moment} [{level:8}] {bold}{event:30}{plain} {words}"
    put_line(f"{line}\n")


def put_line(line: str) -> None:
    """Write *line* to stderr, or lose it when its reader is gone or takes no more: nothing may ever wait for that."""
    with contextlib.suppress(OSError, ValueError):
        content = line.encode(errors="backslashreplace")
        if len(content) > LINE_LIMIT:
            content = content[: LINE_LIMIT - 1] + b"\n"
        if select.select([], [2], [], 0)[1]:
            os.write(2, content)


def render_line(fields: Mapping[str, object], default: Callable[[object], object] | None = None) -> str:
    """*fields* as JSON that fits into a line, the longest value cut; *default* is as of json.dumps."""
    while len(line := json.dumps(fields, default=default)) >= LINE_LIMIT:
        sizes = {name: len(json.dumps(value, default=default)) for name, value in fields.items()}
        longest = max(sizes, key=lambda name: sizes[name])
        if sizes[longest] < 100:
            break  # too many of them, and each is short
        value = fields[longest]
        text = value if isinstance(value, str) else json.dumps(value, default=default)
        fields = {**fields, longest: f"{text[: len(text) // 2]}..."}
    return line


def main(arguments: Sequence[str]) -> int:
    """`watch.py FILE INTERVAL BUDGET [ARGUMENT OF REPORT]...`, in seconds."""
    report_file, interval, budget, *rest = arguments
    folder, name = os.path.split(os.path.abspath(report_file))
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        sys.stderr.write(f"userns-probe: cannot open {folder}: {os.strerror(error.errno or 0)}\n")
        return _USAGE
    supervisor = Supervisor([sys.executable, "-P", _PROBE, "report", "-o", "json", *rest], float(budget) + _GRACE)
    log("watching", report_file=report_file, interval_seconds=float(interval))
    watch(directory, name, float(interval), supervisor)
    log("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
