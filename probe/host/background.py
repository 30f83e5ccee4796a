"""A child forked early that imports slow libraries and then waits on a pipe for its one line of input."""

from __future__ import annotations

import os
from collections.abc import Callable

from probe.host.child import DEFAULT_LIMIT, Child, ChildError


class BackgroundChild:
    """A child that runs *work* with a function that waits for its one line of input; the end of the block kills it."""

    def __init__(self, work: Callable[[Callable[[], str]], bytes]) -> None:
        self._child: Child | None = None
        self._problem = ""
        self._read_end = self._write_end = -1
        try:
            self._read_end, self._write_end = os.pipe()
            self._child = Child(lambda write: write(work(self._receive)))
        except OSError as error:  # no descriptor or process left; `read` reports it
            self._problem = f"it did not start: {error.strerror or error}"

    def __enter__(self) -> BackgroundChild:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._read_end, self._write_end):
            if end >= 0:
                os.close(end)
        if self._child:
            self._child.close()

    def send(self, line: str) -> None:
        """Give the child its input, a line of text."""
        if self._child:
            os.write(self._write_end, f"{line}\n".encode())

    def read(self, deadline: float, limit: int = DEFAULT_LIMIT) -> bytes:
        """The child's answer, by *deadline* of time.monotonic(); a fork of the parent may read it too.

        *Errors*: TimeoutError; ChildError when the child failed or did not even start.
        """
        if self._child is None:
            raise ChildError(self._problem)
        return self._child.read(deadline, limit)

    def _receive(self) -> str:
        return os.read(self._read_end, 4096).decode().rstrip("\n")
