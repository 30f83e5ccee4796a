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
from importlib.machinery import ModuleSpec
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
    "facts.gather",
    "host.libraries",
    "make_report",
    "outputs.documents",
    "outputs.terminal",
    "outputs.text",
)


class _Recorder:
    """A finder that finds nothing, and knows what was looked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None) -> None:
        self.names.append(name)


def make_archive() -> None:
    """Write `archive.FILE`: this package, what a report imports, and its regular expressions.

    *Errors*: OSError, also where this package is not compiled; ValueError for bytecode of it that Python compares with
    its source.
    """
    package = os.path.dirname(archive.FILE)
    modules: archive.Modules = {}
    patterns: archive.Patterns = {}
    content = bytearray()
    for name in sorted({*_imported(), *sys.modules, *_modules_in(package)}):
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
        file.write(archive.encode(os.path.dirname(package), modules, patterns, bytes(content)))


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


def _imported() -> list[str]:
    """Names of the modules that a report imports in any of its processes."""
    recorder = _Recorder()
    sys.meta_path.insert(0, recorder)
    try:
        with late_patterns():
            for module in _REPORT:
                import_module(f"probe.{module}")
        from probe.host import cri_call
        from probe.host.sandbox import links

        cri_call.load()
        links.load_codec()
    finally:
        sys.meta_path.remove(recorder)
    return recorder.names


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
