"""The one way to run what may hang, crash, or needs another namespace: a forked child that can be abandoned.

SIGKILL does not end a process that waits inside a file system whose server took the request and never
answers, so nothing here ever waits for a child without a deadline.
"""

from __future__ import annotations

import errno
import gc
import math
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from probe.host.in_child import in_child, live

DEFAULT_LIMIT = 1 << 20
"""Bytes that a child may hand back."""
FRAME_LENGTH = struct.Struct("=Q")

_GRACE = 0.2  # seconds in which a killed child that can still die does


class ChildError(Exception):
    """The child crashed, was killed, or said more than it may."""


class Child:
    """A forked process that runs *function* with a way to write to its parent, and then ends.

    It dies with its parent (PR_SET_PDEATHSIG), and `close` never waits long: what will not die is left behind.
    *Errors*: OSError where there is no descriptor, process or memory left for it.
    """

    def __init__(self, function: Callable[[Callable[[bytes], None]], None], lifetime: float = 0.0) -> None:
        """*lifetime*: seconds after which the child ends itself, for a parent that may lose the right to kill it.

        Neither kill(2) nor PR_SET_PDEATHSIG of a parent that became root of a user namespace reaches a child outside.
        """
        keep_ended_children()
        read_end, write_end = os.pipe()
        parent = os.getpid()
        if not in_child():  # which collects nothing
            gc.freeze()  # or a collection in the child would write to all the memory that it shares, and so copy it
        try:
            self.pid = os.fork()
        except OSError:
            os.close(read_end)
            os.close(write_end)
            raise
        if self.pid == 0:
            os.close(read_end)
            live(function, write_end, parent, lifetime)
        os.close(write_end)
        self._read_end = read_end
        self._reaped: int | None = None

    def read(self, deadline: float, limit: int = DEFAULT_LIMIT) -> bytes:
        """All that the child writes until it closes its end; *deadline* in seconds of time.monotonic().

        What it has written by then is read, however late it is.
        *Errors*: TimeoutError; ChildError when it writes more than *limit* bytes.
        """
        return b"".join(self._chunks(deadline, limit))

    def read_frame(self, deadline: float, limit: int) -> bytes:
        """The next frame, of a child that writes one and waits: its length as FRAME_LENGTH, and so many bytes.

        *Errors*: TimeoutError; ChildError when it ends before, or the frame is longer than *limit* bytes.
        """
        content, wanted = bytearray(), FRAME_LENGTH.size
        while len(content) < wanted:
            chunk = self._chunk(deadline)
            if not chunk:
                raise ChildError(f"ended without an answer ({_describe(self.exit_status())})")
            content += chunk
            if wanted == FRAME_LENGTH.size <= len(content):
                wanted += FRAME_LENGTH.unpack_from(content)[0]
                if wanted > FRAME_LENGTH.size + limit:
                    raise ChildError("wrote more than allowed")
        return bytes(content[FRAME_LENGTH.size : wanted])

    def lines(self, timeout: float, limit: int = DEFAULT_LIMIT, deadline: float = math.inf) -> Iterator[bytes]:
        """Each line when it comes; TimeoutError when the child is silent for *timeout* seconds, or at *deadline*."""
        pending, budget = b"", limit
        while chunk := self._chunk(min(time.monotonic() + timeout, deadline)):
            budget -= len(chunk)
            if budget < 0:
                raise ChildError(f"wrote more than {limit} bytes")
            *complete, pending = (pending + chunk).split(b"\n")
            yield from complete

    def exit_status(self) -> int | None:
        """Status of the child as waitpid(2) gives it, once it ended; None while it does not end."""
        deadline = time.monotonic() + _GRACE
        pause = 0.0002
        while self._reaped is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._reaped = status
            elif time.monotonic() > deadline:
                return None
            else:
                time.sleep(pause)
                pause = min(pause * 2, 0.02)
        return self._reaped

    def close(self) -> bool:
        """End the child if it still runs; False when it is stuck in the kernel and had to be abandoned."""
        if self._read_end >= 0:
            os.close(self._read_end)
            self._read_end = -1
        if self._reaped is None:
            # A process that has become root of another user namespace may not; then the child's lifetime ends it.
            with suppress(PermissionError):
                os.kill(self.pid, signal.SIGKILL)
        return self.exit_status() is not None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _chunks(self, deadline: float, limit: int) -> Iterator[bytes]:
        while chunk := self._chunk(deadline):
            limit -= len(chunk)
            if limit < 0:
                raise ChildError("wrote more than it may")
            yield chunk

    def _chunk(self, deadline: float) -> bytes:
        if not wait_readable([self._read_end], deadline):
            raise TimeoutError("no answer in time")
        return os.read(self._read_end, 1 << 16)


def run_child(
    function: Callable[[], bytes],
    timeout: float,
    limit: int = DEFAULT_LIMIT,
    meanwhile: Callable[[], object] = lambda: None,
) -> bytes:
    """Return value of *function*, run in a child; the caller runs *meanwhile* before it waits.

    *Errors*: TimeoutError after *timeout* seconds; ChildError when it crashed, was killed, or returned more
    than *limit* bytes. An OSError that *function* raises is raised here with the same errno, a ValueError or
    ChildError with the same text.
    """
    deadline = time.monotonic() + timeout
    with Child(lambda write: write(enclose(function))) as child:
        meanwhile()
        answer = child.read(deadline, limit + 64)
        tag, separator, body = answer.partition(b"\n")
        # One that was killed while it wrote leaves half an answer behind.
        if not separator or len(body) != int(tag.split()[1]):
            raise ChildError(f"ended without an answer ({_describe(child.exit_status())})")
        if len(body) > limit:
            raise ChildError("wrote more than it may")
    return disclose(answer)


def disclose(answer: bytes) -> bytes:
    """Return value of the function wrapped by `enclose`; its exception is raised here."""
    tag, _, body = answer.partition(b"\n")
    kind, _, detail = tag.partition(b" ")
    if kind == b"ok":
        return body
    if kind == b"value":
        raise ValueError(body.decode())
    if kind == b"child":
        raise ChildError(body.decode())
    number = int(detail.split()[1])
    raise OSError(number, os.strerror(number))


def enclose(function: Callable[[], bytes]) -> bytes:
    """The outcome with its length and, of an OSError, the errno in front."""
    try:
        body = function()
        return b"ok %d\n" % len(body) + body
    except TimeoutError:
        return b"os 0 %d\n" % errno.ETIMEDOUT
    except MemoryError:
        return b"os 0 %d\n" % errno.ENOMEM
    except OSError as error:
        return b"os 0 %d\n" % (error.errno or errno.EIO)
    except (ValueError, ChildError) as error:
        text = str(error)[:1000].encode("utf-8", "backslashreplace")
        return b"%s %d\n" % (b"value" if isinstance(error, ValueError) else b"child", len(text)) + text


def wait_readable(files: Sequence[int], deadline: float) -> list[int]:
    """Those of *files* that can be read or are at their end, once there is one; none at *deadline*.

    Not select(2), which knows no descriptor above 1023: the parent may have left as many open.
    """
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return [file for file, _ in poll.poll(max(deadline - time.monotonic(), 0) * 1000)]


def keep_ended_children() -> None:
    """Let children be waited for, even if the parent ignored SIGCHLD: the kernel forgets them otherwise."""
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _describe(status: int | None) -> str:
    if status is None:
        return "it will not end"
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit status {code}"
