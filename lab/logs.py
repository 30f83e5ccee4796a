"""What the code under test logs, as dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from probe.watch import log


@contextmanager
def capture_logs() -> Iterator[list[Mapping[str, Any]]]:
    """The entries that are logged meanwhile, none of which reaches stderr."""
    entries: list[Mapping[str, Any]] = []
    with mock.patch.object(log, "put_entry", entries.append):
        yield entries
