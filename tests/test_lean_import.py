"""Submodules of a package without the package's own start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

START = "from parcel import heavy\nloaded = True\n"


def run_with(folder: Path, program: str, **files: str) -> str:
    """What *program* prints where a package `parcel` of these *files* can be imported; its start imports `heavy`."""
    parcel = folder / "parcel"
    parcel.mkdir()
    for name, content in {"__init__": START, "heavy": "", **files}.items():
        (parcel / f"{name}.py").write_text(content)
    script = f"import sys\nsys.path[:0] = {[str(ROOT), str(folder)]!r}\n"
    script += f"from probe.lean_import import submodules_of\n{program}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOOK = """
print("parcel.heavy" in sys.modules, "parcel" in sys.modules, "parcel.part" in sys.modules)
"""
IMPORT = """
with submodules_of("parcel", __version__="none"):
    from parcel.part import answer
print(answer)
"""


@pytest.mark.parametrize(
    "part",
    [
        "answer = 42",
        "from . import other\nanswer = other.answer",
        "from parcel.other import answer",
        "import parcel.other\nanswer = parcel.other.answer",
        "from . import __version__, other\nanswer = other.answer if __version__ == 'none' else 0",
    ],
)
def test_the_start_is_not_executed(tmp_path: Path, part: str) -> None:
    """However the submodule asks for its siblings; and nothing of the package stays in sys.modules."""
    assert run_with(tmp_path, IMPORT + LOOK, part=part, other="answer = 42") == "42\nFalse False False"


@pytest.mark.parametrize(
    "part",
    ["from parcel import loaded\nanswer = 42", "import parcel\nanswer = 42 if parcel.loaded else 0"],
)
def test_a_submodule_that_needs_the_start_gets_it(tmp_path: Path, part: str) -> None:
    """It costs more, and works; the package then is imported as if it had been from the first."""
    assert run_with(tmp_path, IMPORT + LOOK, part=part) == "42\nTrue True True"


def test_who_imports_the_package_later_gets_the_whole(tmp_path: Path) -> None:
    """With its start executed."""
    later = "import parcel.part\nprint(parcel.loaded, parcel.part.answer)\n"
    assert run_with(tmp_path, IMPORT + later + LOOK, part="answer = 42") == "42\nTrue 42\nTrue True True"


def test_a_package_that_is_imported_already_stays(tmp_path: Path) -> None:
    """The same modules as everybody else has."""
    program = "import parcel.part as first\n" + IMPORT + "print(sys.modules['parcel.part'] is first)"
    assert run_with(tmp_path, program, part="answer = 42") == "42\nTrue"


@pytest.mark.parametrize("name", ["nowhere", "parcel"])
def test_what_is_not_there_is_an_import_error(tmp_path: Path, name: str) -> None:
    """The package, or the submodule; and nothing stays in sys.modules."""
    program = f"""
try:
    with submodules_of({name!r}):
        import {name}.nothing
except ImportError as error:
    print(error.name)
print({name!r} in sys.modules)
"""
    missing = name if name == "nowhere" else "parcel.nothing"
    assert run_with(tmp_path, program) == f"{missing}\nFalse"
