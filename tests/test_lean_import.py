"""Submodules of a package without the package's own start, and what a plain report imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.recorded import Recording
from probe.facts.handover import pack

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


STAND_IN = """
from probe.lean_import import stand_in
with stand_in("parcel.heavy", light=1):
    from parcel.part import heavy
"""


def test_a_stand_in_has_what_it_was_given(tmp_path: Path) -> None:
    """The module itself is not executed, and whoever imports it later gets it."""
    program = f"{STAND_IN}print(heavy.light)\nfrom parcel import heavy as later\nprint(later.weight, later is heavy)"
    files = {"__init__": "", "part": "from parcel import heavy", "heavy": "weight = 9\nprint('executed')"}
    assert run_with(tmp_path, program, **files) == "1\nexecuted\n9 False"


def test_a_stand_in_knows_the_rest_by_the_module_itself(tmp_path: Path) -> None:
    """At the import already, as another version of a package may ask, and at any time later."""
    program = f"{STAND_IN}print(heavy.weight, heavy.light)"
    files = {"__init__": "", "heavy": "weight = 9", "part": "from parcel import heavy\nassert heavy.weight == 9"}
    assert run_with(tmp_path, program, **files) == "9 1"


def test_a_module_that_is_imported_already_needs_no_stand_in(tmp_path: Path) -> None:
    """Everybody has the same one."""
    program = f"import parcel.heavy{STAND_IN}print(heavy.weight, hasattr(heavy, 'light'))"
    assert run_with(tmp_path, program, heavy="weight = 9", part="from parcel import heavy") == "9 False"


def test_a_module_can_be_left_out(tmp_path: Path) -> None:
    """For a package that does without it; afterwards it can be imported."""
    program = """
from probe.lean_import import left_out
with left_out("parcel.heavy"):
    from parcel.part import found
import parcel.heavy
print(found, parcel.heavy.weight)
"""
    part = "try:\n    from parcel import heavy\n    found = True\nexcept ImportError:\n    found = False"
    assert run_with(tmp_path, program, __init__="", heavy="weight = 9", part=part) == "False 9"


def test_who_logs_into_silence_is_not_heard(tmp_path: Path) -> None:
    """Whatever is called; what logging has besides is that of the module itself."""
    program = """
from probe.lean_import import without_logging
with without_logging():
    from parcel.part import log, logging
log.debug("a %s", "b")
log.addHandler(None)
print("logging" in sys.modules, logging.WARNING, "logging" in sys.modules)
"""
    part = "import logging\nlog = logging.getLogger(__name__)"
    assert run_with(tmp_path, program, __init__="", part=part) == "False 30 True"


def test_a_pattern_that_is_compiled_late_is_the_same(tmp_path: Path) -> None:
    """Its flags count, an error comes at its first use, also in the block, and outside of it nothing is late."""
    program = """
import re
from probe.lean_import import late_patterns
with late_patterns():
    from parcel import heavy
    print(heavy.early.match("b")[0])
print(type(heavy.word).__name__, heavy.word.fullmatch("AB")[0], heavy.word.flags & re.IGNORECASE == re.IGNORECASE)
try:
    heavy.wrong.search("")
except re.error:
    print("error")
print(re.compile("a") is re.compile("a"), isinstance(re.compile("a"), re.Pattern))
"""
    heavy = "import re\nearly = re.compile('b')\nword = re.compile('[a-z]+', flags=re.I)\nwrong = re.compile('(')\n"
    assert run_with(tmp_path, program, heavy=heavy) == "b\n_LatePattern AB True\nerror\nTrue True"


PLAIN_REPORT = """
import sys
from importlib import import_module
from probe.cli.start import read_plain
request = read_plain(["-o", "json"], {})
import probe.facts.runtime.cri, probe.facts.gather
from probe.cli.report import needed_afterwards
for module in needed_afterwards(request): import_module(module)
from probe.facts.handover import unpack
from probe.make_report import make_report
facts = unpack(sys.stdin.buffer.read())
report = make_report(facts, agent_version="", probed_at="", expires_at="", duration_seconds=0.0)
from probe.outputs.documents import render_json
render_json(report)
print(*sys.modules)
"""
FOR_SOME = (
    *("probe.bundle", "probe.fleet", "probe.pod", "probe.publish", "probe.serve", "probe.watch"),
    *("probe.cli.verbs", "probe.outputs.terminal", "probe.checks.upgrades", "probe.checks.devices.kinds"),
    *("probe.facts.memory", "probe.facts.trials.kept", "probe.host.look", "probe.host.memory_file"),
    *("probe.host.recording", "probe.facts.trials.oci", "probe.facts.trials.pod", "probe.host.oci_trial.bundle"),
    *(
        "probe.host.oci_trial.steps",
        "probe.host.pod_trial.plan",
        "probe.host.cri_pb2",
        "probe.host.grpc",
        "probe.tables.drivers",
    ),
)
"""Own modules and packages of other verbs, of options, of other processes and of rare answers."""
HEAVY = {
    *("argparse", "asyncio", "ast", "click", "dataclasses", "decimal", "dis", "google", "h2", "hashlib"),
    *("importlib.metadata", "inspect", "logging", "msgspec._json_schema", "msgspec.inspect", "multiprocessing"),
    *("platform", "pyroute2", "subprocess", "textwrap", "threading", "traceback"),
    *("typing_extensions", "urllib", "uuid", "xml"),
}
IMPORTED_BY_OTHERS = {"ast", "threading"} if sys.version_info >= (3, 14) else set[str]()
"""Imported there by msgspec, for annotationlib, and by ctypes, for sysconfig."""
MOST_MODULES = 226
"""Own modules of a plain report, each of which takes 0.2 ms of CPU in each probe. Raise it with a reason.

One of them is the archive, which makes all others cheaper.
"""


def test_a_plain_report_imports_what_it_needs() -> None:
    """`report -o json` on a node with kubelet and containerd, in the two processes that import most."""
    facts = pack(Recording("containerd-2.1.9-kernel-6.18").facts())
    done = subprocess.run([sys.executable, "-c", PLAIN_REPORT], cwd=ROOT, input=facts, capture_output=True, check=True)
    imported = set(done.stdout.decode().split())
    assert not {name for name in imported for other in FOR_SOME if name == other or name.startswith(f"{other}.")}
    assert not imported & (HEAVY - IMPORTED_BY_OTHERS)
    assert len([name for name in imported if name.startswith("probe.")]) <= MOST_MODULES
