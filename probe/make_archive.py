"""Write the archive of bytecode, when the image is built: `python -m probe.make_archive`.

Like bytecode that Python never compares with its source, an archive would hide each later change of the source: only
where `compileall --invalidation-mode unchecked-hash` compiled this package, one is written.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

from probe import archive
from probe.lean_import import late_patterns, late_patterns_made

_PYC_FLAGS = slice(4, 8)  # PEP 552
_PYC_UNCHECKED = 1
_PYC_HEAD = 16  # bytes before the code
_REPORT = (
    "cli.report",
    "facts.runtime.cri",
    "facts.gather",
    "host.libraries",
    "make_report",
    "outputs.documents",
    "outputs.terminal",
    "outputs.text",
)


class _Recorder:
    """Python's finder of source files, which knows what was looked for, and in which order it was executed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.executed: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        self.names.append(name)
        spec = PathFinder.find_spec(name, path)
        if spec and spec.origin and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(self.executed, name, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, executed: list[str], name: str, path: str) -> None:
        super().__init__(name, path)
        self._executed = executed

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self._executed.append(module.__name__)


def make_archive() -> None:
    """Write `archive.FILE`: this package, what a report imports, and its regular expressions.

    *Errors*: OSError, also where this package is not compiled; ValueError for bytecode of it that Python compares with
    its source.
    """
    package = os.path.dirname(archive.FILE)
    modules: archive.Modules = {}
    patterns: archive.Patterns = {}
    content = bytearray()
    imported, orders = _imported()
    for name in sorted({*imported, *sys.modules, *_modules_in(package)}):
        spec = _spec_of(name)
        own = name.partition(".")[0] == "probe"
        if not spec or not spec.origin or not spec.cached or not (own or os.path.exists(spec.cached)):
            continue  # a module of the interpreter itself, or in C
        with open(spec.cached, "rb") as file:
            compiled = file.read()
        if own and int.from_bytes(compiled[_PYC_FLAGS], "little") != _PYC_UNCHECKED:
            raise ValueError(f"{spec.cached} was not compiled with --invalidation-mode unchecked-hash")
        code = compiled[_PYC_HEAD:]
        modules[name] = spec.origin, spec.submodule_search_locations is not None, len(content), len(code)
        content += code
    for pattern, flags in sorted(late_patterns_made(), key=repr):
        arguments = marshal.dumps(_arguments_for(pattern, flags))
        patterns[pattern, flags] = len(content), len(arguments)
        content += arguments
    with open(archive.FILE, "wb") as file:
        file.write(archive.encode(os.path.dirname(package), modules, patterns, orders, bytes(content)))


def _arguments_for(pattern: str | bytes, flags: int) -> tuple[Any, ...]:
    """What `re` calls `_sre.compile` with, when it has compiled the regular expression: good for this Python only."""
    seen: list[tuple[Any, ...]] = []
    compiler: Any = import_module("re._compiler")
    engine = compiler._sre
    compiler._sre = SimpleNamespace(**vars(engine) | {"compile": lambda *arguments: seen.append(arguments)})
    try:
        compiler.compile(pattern, flags)
    finally:
        compiler._sre = engine
    _, all_flags, code, *rest = seen[0]
    return pattern, int(all_flags), [int(each) for each in code], *rest


def _spec_of(name: str) -> ModuleSpec | None:
    """None for a module that nothing was imported from, such as `__main__`."""
    try:
        return find_spec(name)
    except ValueError:
        return None


def _imported() -> tuple[list[str], archive.Orders]:
    """Names of the modules that a report imports in any of its processes; the order in which ours are executed."""
    recorder, orders = _Recorder(), archive.Orders()
    sys.meta_path.insert(0, recorder)
    try:
        with late_patterns():
            for module in _REPORT:
                before = len(recorder.executed)
                import_module(f"probe.{module}")
                executed = (name for name in recorder.executed[before:] if name.startswith("probe."))
                orders[f"probe.{module}"] = tuple(name for name in executed if name != f"probe.{module}")
        from probe.host import cri_call
        from probe.host.sandbox import links

        cri_call.load()
        links.load_codec()
    finally:
        sys.meta_path.remove(recorder)
    return recorder.names, orders


def _modules_in(package: str) -> Iterator[str]:
    """Names of all modules of the *package* in this directory."""
    root = os.path.dirname(package)
    for directory, _, names in os.walk(package):
        for name in names:
            if name.endswith(".py"):
                parts = os.path.relpath(os.path.join(directory, name[:-3]), root).split(os.sep)
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


if __name__ == "__main__":
    try:
        make_archive()
    except (OSError, ValueError) as error:
        sys.exit(f"make_archive: {error}")
