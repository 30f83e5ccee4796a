"""The file without a name (memfd_create(2)) by which `watch` hands the memory of one probe to the next."""

from __future__ import annotations

import os

MEMORY_LIMIT = 1 << 20
"""Bytes of it."""


def take_memory(fd: int) -> bytes:
    """Take the last probe's content out of the file: a probe that fails leaves nothing to look at."""
    os.set_inheritable(fd, False)
    content = os.pread(fd, MEMORY_LIMIT, 0)
    os.ftruncate(fd, 0)
    return content


def put_memory(fd: int, content: bytes) -> None:
    """Leave *content* for the next probe, or nothing when it is too large."""
    if len(content) < MEMORY_LIMIT:
        os.pwrite(fd, content, 0)
