"""A child process that runs many calls for its parent, so that only the first one costs a fork."""

from __future__ import annotations

import marshal
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from probe.host import syscalls
from probe.host.child import DEFAULT_LIMIT, FRAME_LENGTH, Child, ChildError, disclose, enclose

_FRAME = 64  # bytes that `enclose` adds at most


class Helper:
    """Runs functions of a table in a child; each call has a timeout and a size limit, and a hung child is abandoned.

    The call after that gets a new child. The name of the process tells the subject of the current call.
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
        meanwhile: Callable[[], object] | None = None,
    ) -> bytes:
        """Return value of the function; the child is called *name* while it runs, and the caller runs *meanwhile*.

        *arguments* consist of numbers, strings, tuples and dictionaries. *Errors*: as `run_child`.
        """
        child = self._ready()
        request = marshal.dumps((name, operation, arguments))
        deadline = time.monotonic() + timeout
        try:
            os.write(self._requests, FRAME_LENGTH.pack(len(request)) + request)
            if meanwhile:
                meanwhile()
            answer = child.read_frame(deadline, limit + _FRAME)
        except (TimeoutError, ChildError, BrokenPipeError) as error:
            self.close()
            raise error if not isinstance(error, BrokenPipeError) else ChildError("ended without an answer") from error
        return disclose(answer)

    def close(self) -> None:
        """Kill the child, if one runs."""
        if self._child is not None:
            os.close(self._requests)
            self._child.close()
            self._child = None

    def _ready(self) -> Child:
        """The running child, forked if needed; a forked process never uses the child of its parent."""
        if self._child is not None and self._parent == os.getpid():
            return self._child
        receive, send = os.pipe()

        def serve(write: Callable[[bytes], None]) -> None:
            os.close(send)
            with open(receive, "rb") as requests:
                while head := requests.read(FRAME_LENGTH.size):
                    (length,) = FRAME_LENGTH.unpack(head)
                    name, operation, arguments = marshal.loads(requests.read(length))  # noqa: S302
                    syscalls.set_name(name)
                    answer = enclose(lambda run=self._operations[operation], to=arguments: run(*to))  # type: ignore[misc]
                    write(FRAME_LENGTH.pack(len(answer)) + answer)

        try:
            child = Child(serve)
        except OSError:
            os.close(send)
            raise
        finally:
            os.close(receive)
        self._child, self._requests, self._parent = child, send, os.getpid()
        return child
