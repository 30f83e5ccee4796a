"""The image's archive of bytecode: to import from one open file takes less than to find and open one for each module.

`python -m probe.make_archive` writes it when the image is built. Anywhere else there is none, and Python imports as
usual.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "modules.archive")

Index = dict[str, tuple[str, bool, int, int]]
"""A module's name -> its source file, True for a package, and where its bytecode begins and how long it is."""

_SIZE = 8  # bytes of a number


class Archive:
    """A finder of modules (importlib.abc.MetaPathFinder) in an archive that is open."""

    def __init__(self, fd: int, index: Index, start: int) -> None:
        self._fd = fd
        self._identity = _identity_of(fd)
        self._index = index
        self._start = start

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of the module *name*; None for one that is not in the archive."""
        if name not in self._index:
            return None
        source, is_package, _, _ = self._index[name]
        spec = ModuleSpec(name, _Loader(name, source, self), origin=source, is_package=is_package)
        spec.has_location = True
        spec.cached = FILE
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(source)]
        return spec

    def code_of(self, name: str) -> CodeType | None:
        """Code of the module *name*; None when the archive was closed, as a process may close what it inherited."""
        _, _, offset, length = self._index[name]
        try:
            if _identity_of(self._fd) != self._identity:  # the number is another file's now
                return None
            code: CodeType = marshal.loads(os.pread(self._fd, length, self._start + offset))  # noqa: S302 - the image's own
        except (OSError, EOFError, ValueError, TypeError):
            return None
        return code


class _Loader(SourceFileLoader):
    """Python's own loader of the source file, but for where the bytecode comes from."""

    def __init__(self, name: str, source: str, archive: Archive) -> None:
        super().__init__(name, source)
        self._archive = archive

    def get_code(self, fullname: str) -> CodeType | None:
        """The code in the archive, else of the file beside the source."""
        return self._archive.code_of(fullname) or super().get_code(fullname)


def head(directory: str) -> bytes:
    """Begin of an archive of these modules: for this Python, and the distributions installed in *directory*.

    *Errors*: OSError when the directory cannot be read.
    """
    installed = sorted(name for name in os.listdir(directory) if name.endswith(".dist-info"))
    return "\n".join(("userns-probe", sys.version, *installed, "")).encode()


def encode(directory: str, index: Index, bytecode: bytes) -> bytes:
    """The content of an archive. *Errors*: OSError."""
    encoded = marshal.dumps(index)
    return b"".join((head(directory), len(encoded).to_bytes(_SIZE, "little"), encoded, bytecode))


def use(file: str = FILE) -> None:
    """Import from the archive *file* from now on; without effect if it is not there, or not for what is installed."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        index, start = _read_index(fd, head(os.path.dirname(os.path.dirname(file))))
    except (OSError, EOFError, ValueError, TypeError):
        os.close(fd)
    else:
        sys.meta_path.insert(0, Archive(fd, index, start))


def _read_index(fd: int, expected: bytes) -> tuple[Index, int]:
    """The index, and where the bytecode begins. *Errors*: ValueError for one that does not begin as *expected*."""
    if os.pread(fd, len(expected), 0) != expected:
        raise ValueError("not for this Python and these distributions")
    size = int.from_bytes(os.pread(fd, _SIZE, len(expected)), "little")
    start = len(expected) + _SIZE
    return marshal.loads(os.pread(fd, size, start)), start + size  # noqa: S302 - the image's own


def _identity_of(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
