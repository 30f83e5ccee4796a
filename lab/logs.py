"""What the code under test logs, as dictionaries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

from probe.watch import log


@contextmanager
def capture_logs() -> Iterator[list[Mapping[str, Any]]]:
    """The entries that are logged meanwhile, none of which reaches stderr."""
    entries: list[Mapping[str, Any]] = []
    with mock.patch.object(log, "put_entry", entries.append):
        yield entries


def full_pipe() -> tuple[int, int]:
    """Read and write end of a pipe that takes no further byte: whoever writes to it waits."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write_end, b"x" * 4096)
    os.set_blocking(write_end, True)
    return read_end, write_end
