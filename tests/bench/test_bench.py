"""scripts/bench and scripts/soak: how they are called, and that all is measured. No figure is judged here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.bench.account import Command, account
from lab.bench.table import Row, render
from lab.faults.cgroups import no_cgroup
from lab.prerequisites import require
from tests.extent import with_all

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", ["bench", "soak"])
def test_help(script: str) -> None:
    """It says how it is called, with an example."""
    done = run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Example:\n  scripts/{script} " in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("bench", "nope"), "nope"),
        (("bench", "--runs", "few"), "few"),
        (("soak", "--nope"), "--nope"),
        (("soak", "--probes", "0"), "0"),
    ],
)
def test_usage_errors(arguments: tuple[str, ...], named: str) -> None:
    """One line, and the exit code for wrong usage."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_table() -> None:
    rows = [Row("one", "1 ms", "other: 2 ms", 0.5, "under 1"), Row("CPU", "3 ms", "", None)]
    assert render(rows).splitlines() == [
        "     measured  compared with  ratio  aim",
        "one  1 ms      other: 2 ms    0.50   under 1",
        "CPU  3 ms",
    ]


_LEAVES_A_CHILD = """
import os, time
if os.fork() == 0:
    while time.process_time() < 0.2:
        pass
os._exit(0)
"""


@pytest.mark.real
def test_nothing_that_a_command_starts_is_missed() -> None:
    """A child that nobody waits for counts, and the run ends with it."""
    require(os.geteuid() == 0, "root")
    require(not no_cgroup("cpuacct")() or not no_cgroup("cpu")(), "a cgroup that counts CPU")
    with account() as cgroup:
        _, seconds = cgroup.run(Command((sys.executable, "-c", _LEAVES_A_CHILD), dict(os.environ)))
        assert seconds >= 0.2
        assert (cgroup.path / "cgroup.procs").read_text() == ""


@pytest.mark.real
def test_a_command_that_does_not_exist_is_no_figure() -> None:
    """Its cgroup is removed all the same."""
    require(os.geteuid() == 0, "root")
    with account() as cgroup, pytest.raises(OSError, match="could not be run"):
        cgroup.run(Command(("/no/such/program",), {}))
    assert not cgroup.path.exists()


@pytest.mark.real
@pytest.mark.timeout(600)
@with_all
def test_every_figure_is_there() -> None:
    """Both sections, measured once with few scrapes; the containers have tests of their own (tests/deploy)."""
    require(os.geteuid() == 0, "root")
    small = ("--runs", "1", "--mounts", "60", "--scrapes", "4", "--rest", "0.2")
    done = run("bench", "probe", "serve", *small)
    require(done.returncode != 69, done.stderr)
    assert done.returncode == 0, done.stderr
    rows = done.stdout.split("\n\n", 1)[1].splitlines()[1:]
    assert len(rows) == 32
    assert all(re.search(r" \d+\.\d\d( |$)", row) for row in rows), done.stdout
