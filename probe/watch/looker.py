"""The looker: a child in the node's mount namespace that looks whether any source of the last probe changed.

A look may hang on a dead server, so `watch` itself never looks. A looker that does not answer in time is killed, and
another one starts only after it has ended.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import time

from probe.host.look import UNSEEN, look, meaning
from probe.watch.supervisor import SIGNALS, Supervisor

TIMEOUT = 5.0
"""Seconds for a look, and for entering the node."""
_ANSWER_LIMIT = 4096
_TROUBLE = "!"
_PAGE = 4096
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
        """Whether the looker has ended, which closes the other end of its pipe."""
        if self.answers >= 0:
            poll = select.poll()
            poll.register(self.answers, 0)
            if not poll.poll(0):
                return False
            os.close(self.answers)
            self.answers = -1
        return True


class Looks:
    """The sources of the last probe, each with its look at that time."""

    def __init__(self, memory: bytes) -> None:
        """*Errors*: ValueError when *memory* names no source, or one whose changes cannot be detected."""
        sources = [(kind, path, seen) for kind, path, seen in json.loads(memory)["sources"]]
        if not sources or any(not isinstance(word, str) or word == UNSEEN for source in sources for word in source):
            raise ValueError("it is not known what to look at")
        self._sources: list[tuple[str, str, str]] = []
        self._files: list[KernelFile] = []
        tables: dict[int, MountTable] = {}  # by mount namespace, which usually is one for process 1 and the runtime
        for kind, path, seen in sources:
            if kind == "mounts":
                tables[os.stat(f"{os.path.dirname(path)}/ns/mnt").st_ino] = MountTable(path, seen)
            elif kind in ("content", "start", "status") and not seen.startswith("errno"):
                self._files.append(KernelFile(kind, path, seen))
            else:
                self._sources.append((kind, path, seen))
        self._tables = list(tables.values())

    def changed(self) -> str:
        """Kind and path of the first source whose look differs; empty when none does."""
        for file in self._files:
            if file.changed():
                return f"{file.kind} {file.path}"
        roots: dict[str, bool] = {}
        for kind, path, seen in self._sources:
            if look(kind, path, roots) != seen:
                return f"{kind} {path}"
        return next((f"mounts {table.path}" for table in self._tables if table.changed()), "")


class KernelFile:
    """A file of /proc or /sys that stays open: reading it again costs a tenth of opening it."""

    def __init__(self, kind: str, path: str, seen: str) -> None:
        """*kind* and *seen* are those of its look. A file that cannot be opened counts as changed."""
        self.kind = kind
        self.path = path
        self._seen = seen
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def changed(self) -> bool:
        """Whether the look differs; always for a process that has ended."""
        try:
            content = os.pread(self._file, _PAGE, 0)
        except OSError:
            return True
        if len(content) < _PAGE:  # more does not come at once
            try:
                return meaning(self.kind, content) != self._seen
            except LookupError:
                return True
        return look(self.kind, self.path) != self._seen


class MountTable:
    """A mount table that is read again only after the kernel reports a change (poll(2), POLLPRI)."""

    def __init__(self, path: str, seen: str) -> None:
        """*Errors*: OSError."""
        self.path = path
        self._seen = seen
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLPRI | select.POLLERR)
        self._unread = True

    def changed(self) -> bool:
        """Whether the look differs. *Errors*: OSError."""
        if self._poll.poll(0) or self._unread:
            self._unread = False
            os.lseek(self._file, 0, os.SEEK_SET)
            content = bytearray()
            while chunk := os.read(self._file, 1 << 16):
                content += chunk
            return meaning("mounts", bytes(content)) != self._seen
        return False


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
