"""Looks at the sources of a probe."""

from __future__ import annotations

import json
import os
import select

from probe.host.look import UNSEEN, look, meaning

_PAGE = 4096


class Looks:
    """The sources of the last probe, each with its look at that time."""

    def __init__(self, memory: bytes) -> None:
        """*Errors*: ValueError when *memory* names no source, or one whose changes cannot be detected."""
        sources = [(kind, path, seen) for kind, path, seen in json.loads(memory)["sources"]]
        if not sources or any(not isinstance(word, str) or word == UNSEEN for source in sources for word in source):
            raise ValueError("it is not known what to look at")
        self._sources: list[tuple[str, str, str]] = []
        self._files: list[KernelFile] = []
        tables: dict[int, MountTable] = {}  # by mount namespace, which usually is one for process 1 and the runtime
        for kind, path, seen in sources:
            if kind == "mounts":
                tables[os.stat(f"{os.path.dirname(path)}/ns/mnt").st_ino] = MountTable(path, seen)
            elif kind in ("content", "start", "status") and not seen.startswith("errno"):
                self._files.append(KernelFile(kind, path, seen))
            else:
                self._sources.append((kind, path, seen))
        self._tables = list(tables.values())

    def changed(self) -> str:
        """Kind and path of the first source whose look differs; empty when none does."""
        for file in self._files:
            if file.changed():
                return f"{file.kind} {file.path}"
        roots: dict[str, bool] = {}
        for kind, path, seen in self._sources:
            if look(kind, path, roots) != seen:
                return f"{kind} {path}"
        return next((f"mounts {table.path}" for table in self._tables if table.changed()), "")


class KernelFile:
    """A file of /proc or /sys that stays open: reading it again costs a tenth of opening it."""

    def __init__(self, kind: str, path: str, seen: str) -> None:
        """*kind* and *seen* are those of its look. A file that cannot be opened counts as changed."""
        self.kind = kind
        self.path = path
        self._seen = seen
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def changed(self) -> bool:
        """Whether the look differs; always for a process that has ended."""
        try:
            content = os.pread(self._file, _PAGE, 0)
        except OSError:
            return True
        if len(content) < _PAGE:  # more does not come at once
            try:
                return meaning(self.kind, content) != self._seen
            except LookupError:
                return True
        return look(self.kind, self.path) != self._seen


class MountTable:
    """A mount table that is read again only after the kernel reports a change (poll(2), POLLPRI)."""

    def __init__(self, path: str, seen: str) -> None:
        """*Errors*: OSError."""
        self.path = path
        self._seen = seen
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLPRI | select.POLLERR)
        self._unread = True

    def changed(self) -> bool:
        """Whether the look differs. *Errors*: OSError."""
        if self._poll.poll(0) or self._unread:
            self._unread = False
            os.lseek(self._file, 0, os.SEEK_SET)
            content = bytearray()
            while chunk := os.read(self._file, 1 << 16):
                content += chunk
            return meaning("mounts", bytes(content)) != self._seen
        return False
