"""The first module that runs: before everything else is imported, and on whatever Python somebody has."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAIN = ROOT / "probe/__main__.py"
STRANGER = "raise SystemExit('a module of the current directory was executed')\n"

SLOW_IMPORT = """
import sys, runpy
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "probe.cli.start":
            print("importing", flush=True)
            sys.stdin.read()
sys.meta_path.insert(0, Finder())
runpy.run_module("probe", run_name="__main__")
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_while_modules_are_imported(number: signal.Signals, code: int) -> None:
    """The exit code is the same as later, without a word."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_IMPORT],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == "importing\n"
        child.send_signal(number)
        assert child.communicate(timeout=60) == ("", "")
    assert child.returncode == code


@pytest.mark.parametrize("release", [(2, 7), (3, 6), (3, 10)])
def test_a_python_that_is_too_old_is_69_and_one_line(release: tuple[int, int]) -> None:
    """Neither a traceback nor an exit code that could be a verdict."""
    script = (
        f"import sys, runpy; sys.version_info = {(*release, 1)}; runpy.run_path({str(MAIN)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr == f"userns-probe: needs Python 3.11 or newer, and this is {release[0]}.{release[1]}\n"


@pytest.mark.parametrize("path", [MAIN, ROOT / "probe/__init__.py"])
def test_an_old_python_can_parse_it(path: Path) -> None:
    """Otherwise it would print a SyntaxError and exit with 1."""
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.Match, ast.arg)
    for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 4))):
        assert not isinstance(node, newer) or (isinstance(node, ast.arg) and node.annotation is None)
        assert not isinstance(node, ast.FunctionDef) or node.returns is None
        assert not isinstance(node, ast.ImportFrom) or node.module != "__future__"
        assert not isinstance(node, ast.Raise) or node.cause is None
    assert path.read_bytes().isascii()


@pytest.fixture
def strangers_folder(tmp_path: Path) -> Path:
    """A current directory with modules of the names that the command imports."""
    for name in ("click", "msgspec", "typing_extensions", "psutil", "signal", "json", "settings", "host"):
        (tmp_path / f"{name}.py").write_text(STRANGER)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("start", [["-m", "probe"], [str(MAIN)], ["-P", str(MAIN)]])
def test_nothing_of_the_current_directory_is_executed(start: list[str], strangers_folder: Path) -> None:
    """Somebody may have left a `click.py` there for root to run."""
    finder = strangers_folder / "site"
    finder.mkdir()
    # As installed: the package is found, and its own folder is not the current one.
    (finder / "probe").symlink_to(ROOT / "probe")
    environment = os.environ | {"PYTHONPATH": str(finder)}
    done = subprocess.run(
        [sys.executable, *start, "explain"],
        cwd=strangers_folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "filesystem-tmpfs" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "closed", [">&-", "<&- >&- 2>&-", *(pytest.param(one, marks=pytest.mark.slow) for one in ("<&-", "2>&-"))]
)
def test_closed_streams_without_dev_null(closed: str) -> None:
    """In a chroot that nobody gave a /dev the exit code is the command's own."""
    script = f"exec {sys.executable} -c \"import os; os.devnull = '/none'; import runpy; import sys; " + (
        f"sys.argv = ['probe', 'explain']; runpy.run_module('probe', run_name='__main__')\" {closed}"
    )
    done = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
