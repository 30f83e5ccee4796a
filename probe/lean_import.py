"""Submodules of a package without the package's own start, which may import far more than they need."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
