"""Run a program of the node, but only a file that only root can write."""

from __future__ import annotations

import errno
import os
import signal
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from msgspec import Struct

from probe.host import syscalls
from probe.host.child import ChildError, keep_ended_children, wait_readable
from probe.host.in_child import die_with_parent, open_null

OUTPUT_LIMIT = 1 << 20
"""Maximum bytes of stdout, and of stderr."""

_GO = {"GOGC": "off", "GOMEMLIMIT": "64MiB"}
"""Most of these programs are written in Go and short-lived; no garbage collection saves a fifth of their CPU."""


class Output(Struct, frozen=True):
    """Result of a program that exited."""

    status: int
    """Exit status; a program killed by a signal raises ChildError instead."""
    stdout: str
    stderr: str


class Untrusted(ValueError):
    """A user other than root could have written the program."""


def run_program(path: str, arguments: Sequence[str], environment: dict[str, str], timeout: float) -> Output:
    """Run the program at *path* from a descriptor opened once, without capabilities, with bounded output.

    *Errors*: Untrusted; TimeoutError; ChildError when it was killed or its output is too large; OSError of
    opening it. *Source*: the rule for PATH of sudoers(5), applied to every directory above.
    """
    fd = open_trusted(path)
    try:
        return run_open(fd, path, arguments, environment, timeout)
    finally:
        os.close(fd)


def open_trusted(path: str) -> int:
    """Descriptor of an executable that root owns and only root may write, like each directory above it.

    Symlinks are resolved first, so the checked file is the one that runs. *Errors*: Untrusted; OSError.
    """
    real = os.path.realpath(path, strict=True)
    _demand_root_above(real)
    fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _demand_program(real, os.fstat(fd))
    except Untrusted:
        os.close(fd)
        raise
    return fd


def open_executable(process: int) -> tuple[int, str]:
    """Descriptor of the executable of a process, and its path in the root of that process.

    *process* is a descriptor of its directory in /proc. Only root may own the file or write to it. Who may write to the
    directories above does not matter: /proc/PID/exe is the file that runs as root already, whatever its path names now.
    """
    path = os.readlink("exe", dir_fd=process).removesuffix(" (deleted)")
    fd = os.open("exe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=process)
    try:
        _demand_program(path, os.fstat(fd))
    except Untrusted:
        os.close(fd)
        raise
    return fd, path


def _demand_root_above(path: str) -> None:
    parent = os.path.dirname(path)
    while True:
        _demand_root(parent, os.stat(parent))
        if parent == "/":
            break
        parent = os.path.dirname(parent)


def _demand_program(path: str, seen: os.stat_result) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise Untrusted("is not a regular file")
    _demand_root(path, seen)


def _demand_root(path: str, seen: os.stat_result) -> None:
    if seen.st_uid != 0:
        raise Untrusted(f"not run: {path} belongs to UID {seen.st_uid}, not to root")
    sticky = stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_ISVTX  # there, only root can rename files of root
    if seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        raise Untrusted(f"not run: {path} is writable by others than root")


def run_open(fd: int, path: str, arguments: Sequence[str], environment: dict[str, str], timeout: float) -> Output:
    """Run the program of descriptor *fd* with argv[0] *path*, as `run_program` does."""
    keep_ended_children()
    pipes = _pipes(3)  # stdout, stderr, and the errno of a child that cannot become the program
    read_ends, write_ends = [pipe[0] for pipe in pipes], [pipe[1] for pipe in pipes]
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        _close(*read_ends, *write_ends)
        raise
    if pid == 0:
        _become(fd, (path, *arguments), _GO | environment, write_ends, parent)
    _close(*write_ends)
    try:
        return _outcome(pid, path, read_ends, time.monotonic() + timeout)
    finally:
        _close(*read_ends)


def _pipes(count: int) -> list[tuple[int, int]]:
    """So many pipes, or none of them. *Errors*: OSError."""
    pipes: list[tuple[int, int]] = []
    try:
        pipes.extend(os.pipe() for _ in range(count))
    except OSError:
        _close(*(end for pipe in pipes for end in pipe))
        raise
    return pipes


def _close(*ends: int) -> None:
    for end in ends:
        os.close(end)


def _outcome(pid: int, path: str, read_ends: list[int], deadline: float) -> Output:
    """The output of child *pid*, which is killed unless it ends by *deadline*. *Errors*: as `run_program`."""
    status = None
    try:
        stdout, stderr, failure = _collect(read_ends, deadline)
        # On a busy machine a program may exit long after it closed its output.
        status = _wait(pid, max(deadline, time.monotonic() + 0.5))
    finally:
        if status is None:
            _kill(pid)
    if status is None:
        raise TimeoutError("closed its output and went on running")
    if failure:
        raise OSError(int(failure), os.strerror(int(failure)), path)
    if status < 0:
        raise ChildError(f"was ended by signal {-status}")
    return Output(status, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def _become(fd: int, argv: tuple[str, ...], environment: dict[str, str], ends: Sequence[int], parent: int) -> None:
    """Turn the child into the program. *ends*: stdout, stderr, and the pipe for the errno of a failure."""
    stdout, stderr, failure = ends
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for source, target in ((open_null(), 0), (stdout, 1), (stderr, 2)):
            os.dup2(source, target)
        _close_others(fd, failure)
        os.chdir("/")
        syscalls.drop_capabilities()
        die_with_parent(parent)  # after the capabilities: a change of credentials clears the parent-death signal
        execute(fd, argv, environment)
    except OSError as error:
        os.write(failure, b"%d" % (error.errno or errno.EIO))
    finally:
        os._exit(127)


def execute(fd: int, argv: tuple[str, ...], environment: dict[str, str]) -> NoReturn:
    """execve(2) of descriptor *fd*; of a script by its path, which the kernel passes to the interpreter."""
    script = os.pread(fd, 2, 0) == b"#!"
    os.execve(os.readlink(f"/proc/self/fd/{fd}") if script else fd, argv, environment)


def _close_others(*kept: int) -> None:
    """Close all inherited descriptors except *kept* and the standard streams."""
    first = 3
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _kill(pid: int) -> None:
    """Kill the process group of the program, and the program, which may not have joined it yet."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    _wait(pid, time.monotonic() + 0.2)


def _collect(pipes: list[int], deadline: float) -> list[bytes]:
    collected: dict[int, bytes] = dict.fromkeys(pipes, b"")
    pending = list(pipes)
    while pending:
        ready = wait_readable(pending, deadline) if time.monotonic() < deadline else []
        if not ready:
            raise TimeoutError("no answer in time")
        for pipe in ready:
            chunk = os.read(pipe, 1 << 16)
            collected[pipe] += chunk
            if not chunk:
                pending.remove(pipe)
            if len(collected[pipe]) > OUTPUT_LIMIT:
                raise ChildError(f"printed more than {OUTPUT_LIMIT} bytes")
    return [collected[pipe] for pipe in pipes]


def _wait(pid: int, deadline: float) -> int | None:
    """Exit status, or the negative number of the signal; None if the program still runs at *deadline*."""
    while True:
        reaped, status = os.waitpid(pid, os.WNOHANG)
        if reaped:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)
