"""The floors of the house: an import only ever points down, and front pages do nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
MODULES = sorted((PROJECT / "probe").rglob("*.py"))

# From the ground up; modules of one floor may import each other where it is a folder.
FLOORS = (
    ("probe", "probe.archive"),
    ("probe.changes", "probe.lean_import", "probe.proof", "probe.reading", "probe.terms", "probe.untyped"),
    ("probe.tables",),
    ("probe.settings", "probe.finding"),
    ("probe.verdict",),
    ("probe.devices", "probe.forecast", "probe.nested"),
    ("probe.report",),
    ("probe.pod",),
    ("probe.host",),
    ("probe.facts",),
    ("probe.checks",),
    ("probe.make_report",),
    ("probe.bundle",),
    ("probe.outputs",),
    ("probe.watch",),
    ("probe.serve",),
    ("probe.publish",),
    ("probe.fleet",),
    ("probe.cli",),
    ("probe.__main__",),
    ("probe.make_archive",),
)
THREADS = {"grpc", "threading", "concurrent", "asyncio", "multiprocessing"}


def name_of(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def floor_of(module: str) -> int:
    """The floor that a module is on; the longest name that it starts with decides."""
    found = [
        (len(name), index)
        for index, names in enumerate(FLOORS)
        for name in names
        if module == name or (name != "probe" and module.startswith(f"{name}."))
    ]
    assert found, f"{module} is on no floor: add it to FLOORS where it belongs"
    return max(found)[1]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports_of(path: Path) -> tuple[tuple[int, str], ...]:
    """Line and full name of each module that is imported, wherever in the file."""
    return tuple(_imports_of(path))


def _imports_of(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            assert node.module
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if inner in NAMES else node.module


def test_an_import_only_ever_points_down() -> None:
    """Nothing knows how it will be used."""
    wrong = []
    for own, line, imported in ((name_of(path), *found) for path in MODULES for found in imports_of(path)):
        if imported.split(".")[0] != "probe":
            continue
        if floor_of(imported) > floor_of(own):
            wrong.append(f"{own}:{line} imports {imported} from above")
        beside = floor_of(imported) == floor_of(own) and imported.split(".")[:2] != own.split(".")[:2]
        if beside and "probe" not in (own, imported):
            wrong.append(f"{own}:{line} imports {imported} from beside")
    assert not wrong


def test_no_circles() -> None:
    """Modules of one folder import each other in one direction only."""
    graph = {name_of(path): {imported for _, imported in imports_of(path)} for path in MODULES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " imports ".join((*trail[trail.index(module) :], module))
        if module in done:
            return
        for imported in graph.get(module, set()) - {module}:
            visit(imported, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of)
def test_front_pages_do_nothing(path: Path) -> None:
    """The page of a package has words, and at most plain values: importing it costs and touches nothing."""
    tree = parsed(path)
    assert ast.get_docstring(tree)
    assert not [
        ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call | ast.Import | ast.ImportFrom)
    ]


def test_only_the_host_floor_touches() -> None:
    """Files, processes and the kernel are the business of `host/`; what is above knows them by its answers."""
    touching = {"subprocess", "socket", "ctypes", "psutil", "fcntl", "select", "shutil", "pathlib", "tempfile", "glob"}
    forbidden = {"open", "os.stat", "os.lstat", "os.listdir", "os.scandir", "os.readlink", "os.path.exists"}
    forbidden |= {
        "os.path.realpath",
        "os.path.ismount",
        "os.path.isfile",
        "os.path.isdir",
        "os.fork",
        "os.kill",
        "os.open",
    }
    # The one brings the host's children together, the other reads modules.
    allowed = {"probe.facts.gather", "probe.archive"}
    for path in MODULES:
        own = name_of(path)
        if floor_of(own) == floor_of("probe.host") or floor_of(own) > floor_of("probe.make_report"):
            continue
        imported = {module.split(".")[0] for _, module in imports_of(path)}
        assert not imported & touching, f"{own} imports {imported & touching}"
        calls = {ast.unparse(node.func) for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)}
        assert own in allowed or not calls & forbidden, f"{own} calls {calls & forbidden}"


@pytest.mark.parametrize("folder", ["checks", "outputs"])
def test_what_judges_and_says_is_pure(folder: str) -> None:
    """Checks and outputs never reach the host."""
    for path in (PROJECT / "probe" / folder).rglob("*.py"):
        reached = [module for _, module in imports_of(path) if module.startswith("probe.host")]
        assert not reached, f"{name_of(path)} imports {reached}"


def test_a_probe_has_no_threads() -> None:
    """A process with threads can neither enter a mount namespace nor make a user namespace."""
    for path in MODULES:
        own = name_of(path)
        if floor_of(own) > floor_of("probe.make_report"):
            continue
        threaded = {module for _, module in imports_of(path) if module.split(".")[0] in THREADS}
        assert not threaded, f"{own} imports {threaded}"


HEAVY = {"asyncio", "click", "httpx2", "importlib.metadata", "jinja2", "lightkube", "psutil", "pyroute2", "rich"}
HEAVY |= {"decimal", "http", "prometheus_client.exposition", "urllib.request", "uuid", "wsgiref", "yaml", "zipfile"}


def test_serve_imports_only_what_it_needs() -> None:
    """What it imports to start it holds for ever: neither probing nor the command line, the page or an API client."""
    script = "import probe.cli.exporter, probe.serve.service, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "probe.serve.server" in imported
    assert not imported & HEAVY
    floors = {name for name in imported if name.split(".")[0] == "probe"}
    assert not {name for name in floors if name.split(".")[1:2] in (["facts"], ["host"], ["checks"], ["publish"])}


def test_every_module_is_short() -> None:
    """A module is read in one sitting."""
    long = {name_of(path): lines for path in MODULES if (lines := len(path.read_text().splitlines())) > 330}
    assert not long
