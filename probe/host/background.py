"""A process that starts before it is known what it has to do: it imports what takes long while others look around."""

from __future__ import annotations

import os
from collections.abc import Callable

from probe.host.child import DEFAULT_LIMIT, Child, ChildError


class Beside:
    """A child that runs *work* with a way to wait for its one order; it ends with the block at the latest."""

    def __init__(self, work: Callable[[Callable[[], str]], bytes]) -> None:
        self._child: Child | None = None
        self._problem = ""
        self._receive = self._send = -1
        try:
            self._receive, self._send = os.pipe()
            self._child = Child(lambda write: write(work(self._order)))
        except OSError as error:  # no descriptor or process left; whoever needs the answer says so
            self._problem = f"it did not start: {error.strerror or error}"

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._receive, self._send):
            if end >= 0:
                os.close(end)
        if self._child:
            self._child.close()

    def tell(self, order: str) -> None:
        """Let it begin with that, a line of text."""
        if self._child:
            os.write(self._send, f"{order}\n".encode())

    def read(self, deadline: float, limit: int = DEFAULT_LIMIT) -> bytes:
        """Its answer, by *deadline* of time.monotonic(); also in a child of who started it.

        *Errors*: TimeoutError; ChildError when it failed or did not even start.
        """
        if self._child is None:
            raise ChildError(self._problem)
        return self._child.read(deadline, limit)

    def _order(self) -> str:
        return os.read(self._receive, 4096).decode().rstrip("\n")
