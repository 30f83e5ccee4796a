"""A child that does one thing after another for its parent, so that only the first of them pays for a fork."""

from __future__ import annotations

import marshal
import os
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

from probe.host import syscalls
from probe.host.child import DEFAULT_LIMIT, Child, ChildError, disclose, enclose

_LENGTH = struct.Struct("=Q")
_FRAME = 64  # bytes that `enclose` adds at most


class Helper:
    """Runs the functions of a table, each call bounded in time and answer; one that hangs is abandoned.

    The next call gets a new child. Each carries in its name what the call is about.
    """

    def __init__(self, operations: Mapping[str, Callable[..., bytes]]) -> None:
        self._operations = operations
        self._child: Child | None = None
        self._requests = -1
        self._parent = 0

    def ask(
        self,
        name: str,
        operation: str,
        *arguments: Any,
        timeout: float,
        limit: int = DEFAULT_LIMIT,
    ) -> bytes:
        """What that function returns; *name* is the process's while it runs.

        *arguments* are made of numbers, texts, tuples and dictionaries. *Errors*: as `run_child`.
        """
        child = self._ready()
        request = marshal.dumps((name, operation, arguments))
        deadline = time.monotonic() + timeout
        try:
            os.write(self._requests, _LENGTH.pack(len(request)) + request)
            (length,) = _LENGTH.unpack(child.read_exactly(_LENGTH.size, deadline))
            if length > limit + _FRAME:
                raise ChildError("wrote more than it may")
            answer = child.read_exactly(length, deadline)
        except (TimeoutError, ChildError, BrokenPipeError) as error:
            self.close()
            raise error if not isinstance(error, BrokenPipeError) else ChildError("ended without an answer") from error
        return disclose(answer)

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            os.close(self._requests)
            self._child.close()
            self._child = None

    def _ready(self) -> Child:
        """The child; after a fork, the parent's is none of ours."""
        if self._child is not None and self._parent == os.getpid():
            return self._child
        receive, send = os.pipe()

        def serve(write: Callable[[bytes], None]) -> None:
            os.close(send)
            with open(receive, "rb") as requests:
                while head := requests.read(_LENGTH.size):
                    name, operation, arguments = marshal.loads(requests.read(_LENGTH.unpack(head)[0]))  # noqa: S302
                    syscalls.set_name(name)
                    answer = enclose(lambda run=self._operations[operation], to=arguments: run(*to))  # type: ignore[misc]
                    write(_LENGTH.pack(len(answer)) + answer)

        try:
            child = Child(serve)
        except OSError:
            os.close(send)
            raise
        finally:
            os.close(receive)
        self._child, self._requests, self._parent = child, send, os.getpid()
        return child
