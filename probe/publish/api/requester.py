"""The API server, asked by a process of its own: `serve` never holds OpenSSL or the client for it."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from probe.publish.api.interface import UNREACHABLE, Access, Failure, is_node

ANSWER_LIMIT = 16 << 20
"""Maximum bytes of an answer; a response of the server has at most a quarter."""
_GRACE = 5.0  # seconds that a request may take beyond its deadlines
_END = 1.0  # seconds that a process may take to end


class Requester:
    """The process `process.py`, started at the first connection, and again after it has ended."""

    def __init__(self, access: Access) -> None:
        """*access*: the service account of a Pod; no kubeconfig."""
        self._access = access
        self._pid = 0
        self._requests = self._answers = -1

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Requests with the current token and CA. *Errors*: Failure when there is no process to make them."""
        self._start()
        try:
            yield Connection(self)
        finally:
            if self._requests >= 0:
                with suppress(Failure):
                    self.ask(b"\n")  # or the next line might still be read by the child

    def end(self) -> None:
        """End the process, and reap it if it ends within a moment."""
        if self._requests >= 0:
            self._close()
        self._wait()
        self._is_gone()

    def ask(self, line: bytes) -> tuple[str, bytes]:
        """(kind, content) of the answer to *line*. *Errors*: Failure without an answer, which ends the process."""
        # Each of two requests, the second after a refused token, may take its whole deadline.
        deadline = time.monotonic() + 2 * self._access.deadline + _GRACE
        self._write(line)
        content = b""
        while b"\n" not in content:
            content += self._read(deadline)
        head, _, body = content.partition(b"\n")
        kind, _, size = head.decode(errors="replace").partition(" ")
        if not size.isdecimal() or int(size) > ANSWER_LIMIT:
            raise self._broken("no answer that can be read")
        parts, missing = [body], int(size) - len(body)
        while missing > 0:
            parts.append(self._read(deadline))
            missing -= len(parts[-1])
        return kind, b"".join(parts)

    def _start(self) -> None:
        if self._requests >= 0:
            if not self._is_gone():
                return
            self._close()
        self._wait()
        if not self._is_gone():
            raise Failure(0, UNREACHABLE, "the process of the last request hangs, and cannot be killed")
        own, access = Path(__file__), self._access
        command = [sys.executable, "-I", "-S", str(own.with_name("process.py")), access.service_account]
        command += [f"{access.silence:g}", f"{access.deadline:g}"]
        root, paths = str(own.parents[3]), [path for path in sys.path if path]
        command += paths if root in paths else [root, *paths]
        try:
            requests, self._requests = os.pipe()
        except OSError as error:
            raise self._broken(os.strerror(error.errno or 0)) from error
        try:
            self._answers, answers = os.pipe()
        except OSError as error:
            os.close(requests)
            raise self._broken(os.strerror(error.errno or 0)) from error
        try:
            self._pid = os.posix_spawn(
                command[0],
                command,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, requests, 0), (os.POSIX_SPAWN_DUP2, answers, 1)],
                setpgroup=0,  # Ctrl-C is for `serve`
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGIO),
            )
        except OSError as error:
            raise self._broken(os.strerror(error.errno or 0)) from error
        finally:
            os.close(requests)
            os.close(answers)

    def _wait(self) -> None:
        """Wait until the process has ended, for a moment at most: its pipes are closed."""
        if self._pid:
            with suppress(OSError):  # ENOSYS before Linux 5.3
                descriptor = os.pidfd_open(self._pid)
                try:
                    poll = select.poll()
                    poll.register(descriptor, select.POLLIN)
                    poll.poll(_END * 1000)
                finally:
                    os.close(descriptor)

    def _is_gone(self) -> bool:
        """True without a process, and when it has ended: it is reaped then.

        As process 1 of a container it reaps orphans, too, such as a child of a process that was killed.
        """
        whose = -1 if os.getpid() == 1 else self._pid
        try:
            while self._pid and (ended := os.waitpid(whose, os.WNOHANG)[0]):
                self._pid = 0 if ended == self._pid else self._pid
        except ChildProcessError:
            self._pid = 0
        return not self._pid

    def _write(self, line: bytes) -> None:
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._requests, left) :]
        except OSError as error:
            raise self._broken("its process ended") from error

    def _read(self, deadline: float) -> bytes:
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise self._broken("no answer in time")
        part = os.read(self._answers, 1 << 16)
        if not part:
            raise self._broken("its process ended")
        return part

    def _broken(self, reason: str) -> Failure:
        self._close()
        return Failure(0, UNREACHABLE, f"the request was not made, or not to its end: {reason}")

    def _close(self) -> None:
        """Close the pipes, which ends the process and its child."""
        for descriptor in (self._requests, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._requests = self._answers = -1


class Connection:
    """`client.Api` of another process."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def get_node(self, name: str) -> dict[str, Any]:
        """Read the Node."""
        return _node(self._ask("get_node", quote(name, safe="", errors="surrogateescape").encode()), name)

    def apply_metadata(self, name: str, metadata: dict[str, Any], *, force: bool) -> dict[str, Any]:
        """Apply *metadata* as exactly our annotations and labels; returns the Node."""
        return _node(self._call("apply_metadata", name, metadata, force=force), name)

    def apply_condition(self, name: str, condition: dict[str, Any], *, force: bool) -> dict[str, Any]:
        """Apply *condition*; returns the Node."""
        return _node(self._call("apply_condition", name, condition, force=force), name)

    def delete_condition(self, name: str, kind: str) -> dict[str, Any]:
        """Delete the condition of type *kind*; returns the Node."""
        return _node(self._call("delete_condition", name, kind), name)

    def delete_keys(self, name: str, *, annotations: Iterable[str], labels: Iterable[str]) -> dict[str, Any]:
        """Delete keys of any owner; returns the Node."""
        return _node(self._call("delete_keys", name, annotations=list(annotations), labels=list(labels)), name)

    def create_event(self, event: dict[str, Any]) -> None:
        """Create an Event."""
        self._call("create_event", event)

    def _call(self, method: str, *positional: Any, **named: Any) -> Any:
        return self._ask(method, msgspec.json.encode((positional, named)))

    def _ask(self, method: str, arguments: bytes) -> Any:
        kind, content = self._requester.ask(method.encode() + b" " + arguments + b"\n")
        if kind == "crashed":
            raise RuntimeError(content.decode(errors="replace"))
        try:
            document = msgspec.json.decode(content)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Failure(0, UNREACHABLE, "an answer that is not a JSON object") from error
        if kind == "failed":
            raise Failure(*document)
        return document


def _node(document: Any, name: str) -> dict[str, Any]:
    if not is_node(document, name):
        raise Failure(0, UNREACHABLE, f"an answer that is not the Node {name}")
    return dict(document)
