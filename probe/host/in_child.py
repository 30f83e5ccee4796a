"""The child's side of a fork: its signals, its streams, and its death with its parent."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from probe.host import syscalls

_to_parent = -1  # where this process writes to its parent, if it is a child itself


def live(function: Callable[[Callable[[bytes], None]], None], write_end: int, parent: int, lifetime: float) -> NoReturn:
    """The child's life. It never returns, and never runs the parent's cleanup."""
    status = 1
    try:
        if not in_child():  # a child's child has all of this from its parent, and each page that it touches is copied
            # A terminal's Ctrl-C goes to the whole group; the parent decides, and kills.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            gc.disable()  # it lives for a moment, and all that it makes goes with it
        die_with_parent(parent)
        if lifetime:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, lifetime)
        _let_go(write_end)
        function(lambda data: _write_all(write_end, data))
        status = 0
    except BrokenPipeError:
        pass
    except BaseException as error:  # its traceback would belong to nobody; the parent sees the exit status
        if os.environ.get("USERNS_PROBE_DEBUG"):
            import traceback

            traceback.print_exception(error)
    finally:
        os._exit(status)


def in_child() -> bool:
    """Whether this process is such a child itself."""
    return _to_parent >= 0


def _let_go(write_end: int) -> None:
    """Close inherited descriptors whose readers wait for end of file: a child stuck in the kernel would hold them open.

    These are the command's stdout and stderr, and in a child's child the pipe of its parent.
    """
    global _to_parent
    if in_child():
        os.close(_to_parent)
    else:
        null = open_null()
        for stream in (0, 1) if os.environ.get("USERNS_PROBE_DEBUG") else (0, 1, 2):
            os.dup2(null, stream)
        os.close(null)
    _to_parent = write_end


def open_null() -> int:
    """A descriptor of /dev/null, or of an empty file in memory where a root directory has no /dev."""
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:
        return os.memfd_create("null")


def die_with_parent(parent: int) -> None:
    """Ask to be killed when *parent* ends; to be asked again after a change of credentials clears it."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    # 0: the parent is outside our PID namespace. If it ended meanwhile, the next write to it says so.
    if os.getppid() not in (parent, 0):
        os._exit(1)


def become_root(userns_fd: int, parent: int) -> None:
    """Join the user namespace as UID and GID 0, as runtimes do. *Source*: user_namespaces(7)."""
    syscalls.setns(userns_fd, syscalls.CLONE_NEWUSER)
    die_with_parent(parent)  # here and below: new credentials clear the parent-death signal
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    die_with_parent(parent)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
