"""The archive of bytecode: the same modules from one file, while it is for what is installed."""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from probe import archive

ROOT = Path(__file__).parents[1]
PATTERNS = """
import re
from probe import archive
archive.use()
kept = archive._used[0]._patterns
made = [(archive.compiled(*each), re.compile(*each)) for each in kept]
print(bool(made), all(kept == new and kept.groupindex == new.groupindex for kept, new in made))
"""
LOOK = "import probe.__main__, probe.report; print(probe.report.__spec__.cached, probe.report.__file__)"
ORDERS = {
    "parcel.whole": ("parcel", "parcel.part", "elsewhere.part", "parcel.base"),
    "parcel.lost": ("parcel", "parcel.broken"),
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory of packages with one, `parcel`, whose archive says something else than its source."""
    (tmp_path / "probe").mkdir()
    (tmp_path / "some-1.0.dist-info").mkdir()
    for name in ("__init__", "part"):
        (tmp_path / "parcel").mkdir(exist_ok=True)
        (tmp_path / "parcel" / f"{name}.py").write_text("answer = 'source'\n")
    parts = {
        "parcel": "",
        "parcel.base": "import sys\ntold = [each for each in sys.modules if each.startswith('parcel')]\n",
        "parcel.whole": "from parcel import base\nfrom parcel.part import answer\n",
        "parcel.broken": "nothing\n",
        "parcel.lost": "import parcel.broken\n",
        "elsewhere.part": "answer = 'nowhere'\n",
        "parcel.part": "answer = 'archive'\ndef fail():\n    raise ValueError\n",
    }
    index, bytecode = {}, b""
    for name, source in parts.items():
        file = str(tmp_path / "parcel" / (f"{name.partition('.')[2]}.py" if "." in name else "__init__.py"))
        code = marshal.dumps(compile(source, file, "exec"))
        index[name] = file, "." not in name, len(bytecode), len(code)
        bytecode += code
    (tmp_path / "probe/modules.archive").write_bytes(archive.encode(str(tmp_path), index, {}, ORDERS, bytecode))
    return tmp_path


def run(site: Path, program: str) -> str:
    """What *program* prints where the archive is used."""
    start = f"import os, sys\nsys.path[:0] = {[str(ROOT), str(site)]!r}\n"
    start += f"from probe import archive\narchive.use({str(site / 'probe/modules.archive')!r})\n"
    done = subprocess.run([sys.executable, "-c", start + program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ANSWER = "import parcel.part\nprint(parcel.part.answer)"


def test_modules_come_from_the_archive(site: Path) -> None:
    """A package and its modules, with the attributes and the tracebacks that they have otherwise."""
    assert run(site, ANSWER) == "archive"
    look = "import parcel.part\nprint(parcel.part.__file__, parcel.__path__, parcel.part.__package__)"
    assert run(site, look) == f"{site}/parcel/part.py ['{site}/parcel'] parcel"
    fail = "import parcel.part, traceback\ntry: parcel.part.fail()\nexcept ValueError: print(traceback.format_exc())"
    assert f'"{site}/parcel/part.py", line 3, in fail' in run(site, fail)
    (site / "parcel/late.py").write_text("answer = 'late'")  # which the archive does not have
    assert run(site, "import parcel.late\nprint(parcel.late.answer)") == "late"


def test_what_a_module_imports_is_executed_before(site: Path) -> None:
    """In the order of the archive, each once, as if imported; a module whose package is missing is left to `import`."""
    look = "import parcel.whole as w, parcel\nprint(*w.base.told, w.answer, parcel.base is w.base, w.base.__file__)"
    told = "parcel parcel.part parcel.base"
    assert run(site, look) == f"{told} archive True {site}/parcel/base.py"
    before = "import parcel.part\nparcel.part.answer = 'kept'\n"
    assert run(site, f"{before}import parcel.whole\nprint(parcel.whole.answer)") == "kept"


def test_one_that_fails_is_not_imported(site: Path) -> None:
    """The error is its own, and it can be imported again."""
    program = "try: import parcel.lost\nexcept NameError as error: print(error.name, *(name in sys.modules for name in "
    assert run(site, f"{program}('parcel.lost', 'parcel.broken')))") == "nothing False False"


@pytest.mark.parametrize("then", ["os.close(fd)", "os.dup2(os.open('/etc/passwd', os.O_RDONLY), fd)"])
def test_a_process_that_closes_what_it_inherited_imports_from_files(site: Path, then: str) -> None:
    """Also when the number is another file's by then."""
    find = "fd = next(int(fd) for fd in os.listdir('/proc/self/fd') if os.path.realpath(f'/proc/self/fd/{fd}')"
    assert run(site, f"{find}.endswith('.archive'))\n{then}\n{ANSWER}") == "source"


def test_an_archive_for_something_else_is_not_used(site: Path) -> None:
    """Cut off anywhere, of another Python, or after an upgrade of a distribution."""
    file = site / "probe/modules.archive"
    content = file.read_bytes()
    for changed in (b"", content[:40], content[:-400], content.replace(sys.version.encode()[:6], b"2.7.18", 1)):
        file.write_bytes(changed)
        assert run(site, ANSWER) == "source"
    file.write_bytes(content)
    assert run(site, ANSWER) == "archive"
    (site / "some-1.0.dist-info").rename(site / "some-1.1.dist-info")
    assert run(site, ANSWER) == "source"


@pytest.mark.slow
def test_it_is_made_where_bytecode_is_never_compared(tmp_path: Path) -> None:
    """Elsewhere it would hide later changes of the source, and there is none."""
    shutil.copytree(ROOT / "probe", tmp_path / "probe", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONPATH": str(tmp_path)}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-B", "-P", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    file = tmp_path / "probe/modules.archive"
    for mode, made in (("", False), ("timestamp", False), ("checked-hash", False), ("unchecked-hash", True)):
        if mode:
            call("-m", "compileall", "-q", "-f", "--invalidation-mode", mode, "probe")
        done = call("-m", "probe.make_archive")
        assert (done.returncode == 0) == made == file.exists(), done.stderr
        assert made or done.stderr.startswith("make_archive: ")
    assert call("-c", PATTERNS).stdout.strip() == "True True"
    assert call("-c", LOOK).stdout.split() == [str(file), str(tmp_path / "probe/report.py")]
    assert call("-m", "probe", "--version").stdout == subprocess.check_output(
        [sys.executable, "-P", str(ROOT / "probe/__main__.py"), "--version"], text=True
    )
