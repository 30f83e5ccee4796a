"""Files of /proc and /sys that stay open."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from itertools import repeat

from probe.host.look import look, meaning

_PAGE = 4096
_ROOM = 16  # bytes to read more than there were: the kernel makes a buffer of the size that is asked for


class KernelFile:
    """A file of /proc or /sys that stays open: reading it again costs a tenth of opening it."""

    def __init__(self, kind: str, path: str, seen: str) -> None:
        """*kind* and *seen* are those of its look. A file that cannot be opened counts as changed."""
        self.kind = kind
        self.path = path
        self.seen = seen
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.descriptor = -1
        self.content: bytes | None = None
        """The last content; None while a read fails, or gives a page."""

    def changed(self) -> bool:
        """True when the look differs; always for a process that has ended."""
        try:
            content = os.pread(self.descriptor, _PAGE, 0)
        except OSError as error:
            return self.seen != f"errno {error.errno}"
        if content == self.content:
            return False
        if len(content) >= _PAGE:  # more does not come at once
            return look(self.kind, self.path) != self.seen
        try:
            if meaning(self.kind, content) != self.seen:
                return True
        except LookupError:
            return True
        self.content = content
        return False

    def close(self) -> None:
        """Close it, if it is open."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Batch:
    """Kernel files that are read in one go, and compared as lists."""

    def __init__(self, files: Iterable[KernelFile]) -> None:
        self._files = self._long = list(files)
        self._descriptors: list[int] = []
        self._sizes: list[int] = []
        self._contents: list[bytes] = []

    def changed(self) -> bool:
        """True when the look at any of them differs."""
        with contextlib.suppress(OSError):
            if self._contents and list(map(os.pread, self._descriptors, self._sizes, repeat(0))) == self._contents:
                return any(file.changed() for file in self._long)
        if any(file.changed() for file in self._files):
            return True
        short = [file for file in self._files if file.content]
        self._long = [file for file in self._files if not file.content]
        self._descriptors = [file.descriptor for file in short]
        self._contents = [file.content or b"" for file in short]
        self._sizes = [len(content) + _ROOM for content in self._contents]
        return False
