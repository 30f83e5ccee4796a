"""The looker: a child in the node's mount namespace that looks whether any source of the last probe changed.

A look may hang on a dead server, so `watch` itself never looks. The looker looks every 15 seconds and says nothing
while nothing changes, and `watch` sleeps; a timer of the kernel wakes `watch` when a look is not over in time. Such a
looker is killed, and another one starts only after it has ended.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import time

from probe.watch.heap import trim
from probe.watch.looks import Looks
from probe.watch.pace import LOOK
from probe.watch.supervisor import SIGNALS, Supervisor
from probe.watch.timer import Timer

TIMEOUT = 5.0
"""Seconds for a look, and for entering the node."""
_ANSWER_LIMIT = 4096
_TROUBLE = "!"
_CLONE_NEWNS = 0x00020000
_STEP = 1.0  # seconds by which clocks may part between two looks; a clock that is adjusted slowly stays below

Clocks = tuple[float, float]


class NoAnswer(Exception):
    """The looker hangs, has ended, or cannot look."""


class Looker:
    """A running looker. *Errors*: OSError when no process or descriptor is left (EAGAIN, EMFILE)."""

    def __init__(self, memory: bytes, proc: str, since: Clocks, pause: float = LOOK) -> None:
        """*memory* is that of the last probe, *since* are the clocks then; *proc* is the path of the node's /proc.

        *pause*: seconds between two looks.
        """
        with contextlib.ExitStack() as undo:
            self._timer = Timer()
            undo.callback(self._timer.close)
            requests, self._requests = _pipe(undo)
            self.answers, answers = _pipe(undo)
            gc.unfreeze()
            gc.collect()  # or cycles of the last report, which json.dumps(indent=2) leaves, would be frozen for ever
            trim()  # of free memory each process would keep its own
            gc.freeze()  # the child would write to all the memory that it shares with us, and so copy it
            self._pid = os.fork()
            if self._pid == 0:
                others = (self._requests, self.answers)
                _live(Looking(memory, proc, since), self._timer, requests, answers, pause, others)
            undo.pop_all()
        os.close(requests)
        os.close(answers)

    def look(self, supervisor: Supervisor) -> str:
        """Kind and path of the first changed source, by a full look now; empty when none did. *Errors*: NoAnswer."""
        deadline = time.monotonic() + TIMEOUT
        try:
            os.write(self._requests, b"\n")
        except OSError as error:
            raise NoAnswer(os.strerror(error.errno or 0)) from error
        while not supervisor.wait([self.answers], deadline):
            if supervisor.stop or time.monotonic() >= deadline:
                raise NoAnswer(f"no answer within {TIMEOUT:g} s")
        return self._answer()

    def wait(self, supervisor: Supervisor, deadline: float) -> str:
        """The same as soon as a look finds a change; empty at *deadline* (time.monotonic()) and after a signal.

        Call it after the first `look`. *Errors*: NoAnswer, also when a look is late.
        """
        if not supervisor.wait([self.answers, self._timer.descriptor], deadline):
            return ""
        if not select.select([self.answers], [], [], 0)[0]:
            raise NoAnswer(f"no answer within {TIMEOUT:g} s")
        return self._answer()

    def _answer(self) -> str:
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
            self._timer.close()
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


class Looking:
    """State of the node that the looker keeps."""

    def __init__(self, memory: bytes, proc: str, since: Clocks) -> None:
        self._memory = memory
        self._proc = proc
        self._clocks = since
        self._looks: Looks | None = None

    def change(self, *, full: bool = True) -> str:
        """What changed since the probe, or since the last look in the case of the clock; empty when nothing did.

        A change is found again each time. *full* as of `Looks.changed`. *Errors*: OSError, ValueError, LookupError,
        TypeError.
        """
        (wall, suspended), (wall_before, suspended_before) = now, _ = clocks(), self._clocks
        if abs(wall - wall_before) > _STEP or abs(suspended - suspended_before) > _STEP:
            return "the clock"
        self._clocks = now
        if self._looks is None:
            enter_node(self._proc)
            self._looks = Looks(self._memory)
        return self._looks.changed(full=full)


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        undo.callback(os.close, end)
    return ends


def clocks() -> Clocks:
    """Wall clock minus CLOCK_BOOTTIME, and seconds suspended: only setting the clock or suspending changes them."""
    boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - boot, boot - time.monotonic()


def _live(looking: Looking, timer: Timer, requests: int, answers: int, pause: float, others: tuple[int, int]) -> None:
    """Look in the child when asked and every *pause* seconds, then end it when `watch` closes the pipe.

    A look that nobody asked for is answered when it finds something, and is the last one then.
    """
    try:
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL if number != signal.SIGHUP else signal.SIG_IGN)
        for fd in others:
            os.close(fd)
        poll = select.poll()
        poll.register(requests, select.POLLIN)
        rest: float | None = None
        while True:
            asked = bool(poll.poll(rest))
            if asked and not os.read(requests, 1):
                break
            began = time.monotonic()
            try:
                answer = looking.change(full=asked)
            except (OSError, ValueError, LookupError, TypeError) as error:
                answer = f"{_TROUBLE}{type(error).__name__}: {error}"
            timer.set(pause + TIMEOUT)
            rest = None if answer and not asked else max(began + pause - time.monotonic(), 0) * 1000
            if asked or answer:
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
