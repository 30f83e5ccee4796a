"""Imports without what they would import besides: the start of a package, or a module they can do without."""

from __future__ import annotations

import _thread
import gc
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import Any

from probe import archive


@contextmanager
def submodules_of(package: str, **names: str) -> Iterator[None]:
    """Let the imports in this block reach submodules of *package* without executing its `__init__.py`.

    *names* are attributes of the package that submodules ask for. When a submodule asks for any other attribute, as
    another version of it may, the package is executed after all. Afterwards the package counts as not imported: a later
    import executes the whole of it, with submodules of its own. *Errors*: ImportError when there is no such package.
    """
    spec = importlib.util.find_spec(package) if package not in sys.modules else None
    if package not in sys.modules and (spec is None or spec.loader is None):
        raise ImportError(f"No module named {package!r}", name=package)
    if spec is None or spec.loader is None:  # it is imported in whole already
        yield
        return
    module, loader = importlib.util.module_from_spec(spec), spec.loader

    def missing(name: str) -> Any:
        """The submodule *name*, else what the executed package has under that name."""
        if name.startswith("__"):
            raise AttributeError(name)
        if importlib.util.find_spec(f"{package}.{name}"):
            return importlib.import_module(f"{package}.{name}")
        del module.__dict__["__getattr__"]
        loader.exec_module(module)
        return getattr(module, name)

    module.__dict__.update(names, __getattr__=missing)
    sys.modules[package] = module
    try:
        yield
    finally:
        if "__getattr__" in module.__dict__:
            for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
                del sys.modules[name]


@contextmanager
def left_out(module: str) -> Iterator[None]:
    """Let `import module` fail in this block, for packages that do without it; no effect if it is imported already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment] # the import system's own mark
    try:
        yield
    finally:
        del sys.modules[module]


@contextmanager
def stand_in(module: str, **attributes: Any) -> Iterator[None]:
    """Let the imports in this block find a stand-in with these *attributes* for a *module* that is not imported yet.

    What was imported keeps the stand-in. Any other attribute of it, whenever somebody asks for one, is that of the
    module itself, which is imported then.
    """
    if module in sys.modules:
        yield
        return
    parent, _, own_name = module.rpartition(".")
    package = sys.modules.get(parent)
    stand = ModuleType(module)

    def give_way() -> None:
        """Let the next import find the module itself."""
        if sys.modules.get(module) is stand:
            del sys.modules[module]
        if package and package.__dict__.get(own_name) is stand:
            delattr(package, own_name)

    def missing(name: str) -> Any:
        """The attribute of the module itself."""
        if name.startswith("__"):
            raise AttributeError(name)
        give_way()
        return getattr(importlib.import_module(module), name)

    stand.__dict__.update(attributes, __getattr__=missing)
    sys.modules[module] = stand
    if package:
        setattr(package, own_name, stand)
    try:
        yield
    finally:
        give_way()


@contextmanager
def hashlib_alone() -> Iterator[None]:
    """Let hashlib be imported in this block with the interpreter's own hashes, where it has them: libcrypto takes 5 MB.

    A distribution may build Python without them, as Red Hat does.
    """
    own = all(importlib.util.find_spec(name) for name in ("_blake2", "_md5", "_sha1", "_sha3"))
    own &= any(importlib.util.find_spec(name) for name in ("_sha2", "_sha256"))  # the second before Python 3.12
    with left_out("_hashlib") if own else nullcontext():
        yield


@contextmanager
def late_patterns() -> Iterator[None]:
    """Let modules that are imported in this block compile each regular expression when it is used first.

    Half of the time that yaml takes to import are its patterns; most of them belong to a reader that libyaml replaces.
    Of the patterns of our own modules a plain report uses a half, each in one of its processes.
    """
    before = re.compile
    re.compile = _LatePattern  # type: ignore[assignment]
    try:
        yield
    finally:
        re.compile = before


_compile = re.compile  # also for a pattern that is used in such a block


class _LatePattern:
    """A regular expression (re.Pattern) that is compiled when somebody asks for an attribute, if not in the archive."""

    def __init__(self, pattern: Any, flags: int = 0) -> None:
        self.late = pattern, int(flags)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = self.__dict__[name] = getattr(archive.compiled(*self.late) or _compile(*self.late), name)
        return found


def late_patterns_made() -> set[tuple[str | bytes, int]]:
    """Each regular expression, with its flags, that was left to be compiled later and is in use."""
    return {each.late for each in gc.get_objects() if isinstance(each, _LatePattern)}


@contextmanager
def msgspec_alone() -> Iterator[None]:
    """Let msgspec be imported in this block without what only schemas need, and without Decimal and UUID.

    No document of ours has a value of these two types, which msgspec then refuses to encode.
    """
    schemas = "msgspec._json_schema"
    with (
        left_out("typing_extensions"),
        stand_in("decimal", Decimal=type("Decimal", (), {})),
        stand_in("uuid", UUID=type("UUID", (), {}), SafeUUID=type("SafeUUID", (), {"unknown": None})),
        stand_in("msgspec.inspect"),
        stand_in(schemas, **{name: _later(schemas, name) for name in ("schema", "schema_components")}),
    ):
        yield


def _later(module: str, name: str) -> Callable[..., Any]:
    """The function of that *name*, whose *module* is imported at its first call."""
    return lambda *arguments, **options: getattr(importlib.import_module(module), name)(*arguments, **options)


def without_logging() -> AbstractContextManager[None]:
    """Let packages that are imported in this block log nothing: `logging` takes as long to import as all of hpack."""
    return stand_in("logging", getLogger=lambda _name=None: _Silence())


def without_threads() -> AbstractContextManager[None]:
    """Let packages that are imported in this block have locks without `threading`, which takes 2 ms to import."""
    return stand_in("threading", Lock=_thread.allocate_lock, RLock=_thread.RLock, local=_thread._local)


class _Silence:
    """A logger that discards everything."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_arguments, **_options: None
