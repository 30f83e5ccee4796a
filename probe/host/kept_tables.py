"""Cache of mount tables: an entry is valid until poll(2) on its descriptor reports a change."""

from __future__ import annotations

import os
import re
import select

from msgspec import Struct

from probe.host.abstract import MOUNTINFO_LIMIT

_PIECE = 1 << 16  # bytes per read(2); the kernel returns at most a page
_ROOT = re.compile(rb"^(\d+) \d+ [^ ]+ [^ ]+ / ", re.MULTILINE)


class _Kept(Struct, frozen=True):
    descriptor: int
    head: bytes
    content: bytes


class KeptTables:
    """Cached mount tables by namespace. *Source*: proc_pid_mountinfo(5), poll(2) with POLLPRI and POLLERR."""

    def __init__(self) -> None:
        self._kept: dict[bytes, _Kept] = {}

    def read(self, path: str) -> bytes:
        """The whole mount table in *path*, a mountinfo file; processes with the same root mount share one entry.

        A mount belongs to one namespace only, so processes with the same root mount see the same table. A process
        whose root is a plain directory has no root mount in its table.

        *Errors*: OSError; ValueError above MOUNTINFO_LIMIT.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            head = os.read(descriptor, _PIECE)
            root = _ROOT.search(head)
            kept = self._kept.get(root[1]) if root else None
            if kept and kept.head == head and not _changed(kept.descriptor):
                return kept.content
            content = _read_on(descriptor, head)
            if root:
                self._keep(root[1], _Kept(os.dup(descriptor), head, content))
            return content
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close all descriptors, which keep their mount namespaces alive."""
        for kept in self._kept.values():
            os.close(kept.descriptor)
        self._kept = {}

    def _keep(self, root: bytes, table: _Kept) -> None:
        old = self._kept.get(root)
        if old:
            os.close(old.descriptor)
        self._kept[root] = table


def _read_on(descriptor: int, head: bytes) -> bytes:
    content = bytearray(head)
    while piece := os.read(descriptor, _PIECE):
        content += piece
        if len(content) > MOUNTINFO_LIMIT:
            raise ValueError(f"is larger than {MOUNTINFO_LIMIT} bytes")
    return bytes(content)


def _changed(descriptor: int) -> bool:
    """True when a mount changed since the table was opened; the kernel reports each change once."""
    poll = select.poll()
    poll.register(descriptor, select.POLLPRI | select.POLLERR)
    return bool(poll.poll(0))
