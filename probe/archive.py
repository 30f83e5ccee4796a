"""The image's archive of bytecode: to import from one open file takes less than to find and open one for each module.

`python -m probe.make_archive` writes it when the image is built. Anywhere else there is none, and Python imports as
usual.
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec

TYPE_CHECKING = False  # typing itself is to be imported from the archive
if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "modules.archive")

Modules = dict[str, tuple[str, bool, int, int]]
"""A module's name -> its source file, True for a package, and where its bytecode begins and how long it is."""
Patterns = dict[tuple[str | bytes, int], tuple[int, int]]
"""A regular expression and its flags -> where the arguments of `_sre.compile` for it begin and how long they are."""

Orders = dict[str, tuple[str, ...]]
"""A module's name -> the modules of this package that were executed when it was imported, in that order."""

_SIZE = 8  # bytes of a number


class Archive:
    """A finder of modules (importlib.abc.MetaPathFinder) in an archive that is open."""

    def __init__(self, fd: int, modules: Modules, patterns: Patterns, orders: Orders, start: int) -> None:
        self._fd = fd
        self._identity = _identity_of(fd)
        self._modules = modules
        self._patterns = patterns
        self._orders = orders
        self._start = start

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of the module *name*; None for one that is not in the archive.

        Those that it imports are executed before, if their order is known. Call it then in a process with one thread:
        another could take one of them before it is complete.
        """
        if name not in self._modules:
            return None
        for each in self._orders.pop(name, ()):
            if each not in sys.modules:
                self._execute(each)
        source, is_package, _, _ = self._modules[name]
        spec = ModuleSpec(name, _Loader(name, source, self), origin=source, is_package=is_package)
        spec.has_location = True
        spec.cached = FILE
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(source)]
        return spec

    def _execute(self, name: str) -> None:
        """Import a module whose imports were executed before; `import` takes as long again for its bookkeeping."""
        parent, _, own_name = name.rpartition(".")
        spec, code = self.find_spec(name), self.code_of(name)
        if spec is None or code is None or parent not in sys.modules:
            return  # `import` will do it
        sys.modules[name] = module = module_from_spec(spec)
        try:
            exec(code, vars(module))  # noqa: S102 - as `import` does
        except BaseException:
            del sys.modules[name]
            raise
        setattr(sys.modules[parent], own_name, module)

    def code_of(self, name: str) -> CodeType | None:
        """Code of the module *name*; None when the archive was closed, as a process may close what it inherited."""
        _, _, offset, length = self._modules[name]
        code: CodeType | None = self._load(offset, length)
        return code

    def pattern_of(self, pattern: str | bytes, flags: int) -> re.Pattern[Any] | None:
        """The compiled regular expression; None for one that is not in the archive."""
        if (pattern, flags) not in self._patterns:
            return None
        arguments = self._load(*self._patterns[pattern, flags])
        found: re.Pattern[Any] | None = arguments and import_module("_sre").compile(*arguments)  # as `re` itself does
        return found

    def _load(self, offset: int, length: int) -> Any:
        try:
            if _identity_of(self._fd) != self._identity:  # the number is another file's now
                return None
            return marshal.loads(os.pread(self._fd, length, self._start + offset))  # noqa: S302 - the image's own
        except (OSError, EOFError, ValueError, TypeError):
            return None


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


def encode(directory: str, modules: Modules, patterns: Patterns, orders: Orders, content: bytes) -> bytes:
    """An archive with this *content*. *Errors*: OSError."""
    index = marshal.dumps((modules, patterns, orders))
    return b"".join((head(directory), len(index).to_bytes(_SIZE, "little"), index, content))


def use(file: str = FILE) -> None:
    """Import from the archive *file* from now on; without effect if it is not there, or not for what is installed."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        found = _open(fd, head(os.path.dirname(os.path.dirname(file))))
    except (OSError, EOFError, ValueError, TypeError):
        os.close(fd)
    else:
        sys.meta_path.insert(0, found)
        _used.append(found)


_used: list[Archive] = []  # at most one


def compiled(pattern: str | bytes, flags: int) -> re.Pattern[Any] | None:
    """A regular expression that was compiled when the image was built; None if this one was not."""
    return _used[0].pattern_of(pattern, flags) if _used else None


def _open(fd: int, expected: bytes) -> Archive:
    """*Errors*: ValueError for an archive that does not begin as *expected*; as `marshal.loads`."""
    if os.pread(fd, len(expected), 0) != expected:
        raise ValueError("not for this Python and these distributions")
    size = int.from_bytes(os.pread(fd, _SIZE, len(expected)), "little")
    start = len(expected) + _SIZE
    modules, patterns, orders = marshal.loads(os.pread(fd, size, start))  # noqa: S302 - the image's own
    return Archive(fd, modules, patterns, orders, start + size)


def _identity_of(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
