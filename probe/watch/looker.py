"""The looker: a child in the node's mount namespace that looks whether any source of the last probe changed.

A look may hang on a dead server, so `watch` itself never looks. A looker that does not answer in time is killed, and
another one starts only after it has ended.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time

from probe.watch.looks import Looks
from probe.watch.supervisor import SIGNALS, Supervisor

TIMEOUT = 5.0
"""Seconds for a look, and for entering the node."""
_ANSWER_LIMIT = 4096
_TROUBLE = "!"
_CLONE_NEWNS = 0x00020000


class NoAnswer(Exception):
    """The looker hangs, has ended, or cannot look."""


class Looker:
    """A running looker. *Errors*: OSError when no process or descriptor is left (EAGAIN, EMFILE)."""

    def __init__(self, memory: bytes, proc: str) -> None:
        """*memory* is that of the last probe; *proc* is the path of the node's /proc."""
        requests, self._requests = os.pipe()
        self.answers, answers = os.pipe()
        gc.unfreeze()
        gc.collect()  # or the cycles that the last report left, as json.dumps(indent=2) does, would be frozen for ever
        gc.freeze()  # the child would write to all the memory that it shares with us, and so copy it
        self._pid = os.fork()
        if self._pid == 0:
            _live(memory, proc, requests, answers, (self._requests, self.answers))
        os.close(requests)
        os.close(answers)

    def look(self, supervisor: Supervisor) -> str:
        """Kind and path of the first changed source; empty when none changed. *Errors*: NoAnswer."""
        deadline = time.monotonic() + TIMEOUT
        try:
            os.write(self._requests, b"\n")
        except OSError as error:
            raise NoAnswer(os.strerror(error.errno or 0)) from error
        while not supervisor.wait([self.answers], deadline):
            if supervisor.stop or time.monotonic() >= deadline:
                raise NoAnswer(f"no answer within {TIMEOUT:g} s")
        answer = os.read(self.answers, _ANSWER_LIMIT).decode(errors="replace")
        if not answer.endswith("\n"):
            raise NoAnswer("it ended")
        if answer.startswith(_TROUBLE):
            raise NoAnswer(answer[len(_TROUBLE) : -1])
        return answer[:-1]

    def end(self) -> None:
        """Kill the looker without waiting; `is_gone` tells when it has ended."""
        if self._requests >= 0:
            os.close(self._requests)
            self._requests = -1
            if not self.is_gone():  # so it is not reaped, and the pid still its own
                os.kill(self._pid, signal.SIGKILL)

    def is_gone(self) -> bool:
        """True when the looker has ended, which closes the other end of its pipe."""
        if self.answers >= 0:
            poll = select.poll()
            poll.register(self.answers, 0)
            if not poll.poll(0):
                return False
            os.close(self.answers)
            self.answers = -1
        return True


def _live(memory: bytes, proc: str, requests: int, answers: int, others: tuple[int, int]) -> None:
    """Answer each request in the child, then end it when `watch` closes the pipe."""
    try:
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL if number != signal.SIGHUP else signal.SIG_IGN)
        for fd in others:
            os.close(fd)
        looks: Looks | None = None
        while os.read(requests, 1):
            try:
                if looks is None:
                    enter_node(proc)
                    looks = Looks(memory)
                answer = looks.changed()
            except (OSError, ValueError, LookupError, TypeError) as error:
                answer = f"{_TROUBLE}{type(error).__name__}: {error}"
            line = answer.encode("utf-8", "backslashreplace").replace(b"\n", b"?")
            os.write(answers, line[: _ANSWER_LIMIT - 1] + b"\n")
    finally:
        os._exit(0)


def enter_node(proc: str) -> None:
    """Enter the mount namespace of process 1 of *proc*, unless this process is in it.

    *Errors*: OSError. *Source*: setns(2).
    """
    fd = os.open(f"{proc}/1/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.path.samestat(os.fstat(fd), os.stat("/proc/self/ns/mnt")):
            return
        if hasattr(os, "setns"):  # since Python 3.12
            os.setns(fd, _CLONE_NEWNS)
        else:
            import ctypes

            if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNS):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.chdir("/")
    finally:
        os.close(fd)
