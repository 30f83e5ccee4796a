"""How scripts/test runs all tests in several processes, and what it makes of them."""

from __future__ import annotations

import io
import os
import signal
import sys

import psutil
import pytest

from lab import lanes
from lab.command import ROOT
from lab.real.node import descendants
from lab.waiting import wait_for
from tests.conftest import COLLECTED

WORDS = {
    "passed": "===== 2 passed, 5 deselected, 1 warning in 0.10s =====",
    "failed": "FAILED tests/a.py::test\n===== 1 failed, 3 passed, 1 skipped in 61.00s (0:01:01) =====",
    "broken": "===== 2 passed, 1 error in 0.10s =====",
    "nothing": "===== 7 deselected in 0.10s =====",
    "dead": "Fatal Python error",
}
MARKS = ("real", "qemu", "program", "beside", "whole_machine")
CODES = {"passed": 0, "failed": 1, "broken": 1, "nothing": 5, "dead": -11}


def failures(ended: tuple[str, ...]) -> list[str]:
    """The lines that name what failed."""
    return [line for each in ended for line in WORDS[each].splitlines() if line.startswith("FAILED")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ended", "code", "words"),
    [
        (("passed", "passed"), 0, "4 passed, 2 warnings in "),
        (("passed", "nothing"), 0, "2 passed, 1 warning in "),
        (("passed", "failed"), 1, "1 failed, 5 passed, 1 skipped, 1 warning in "),
        (("passed", "broken"), 1, "4 passed, 1 warning, 1 error in "),
        (("passed", "dead"), 11, "2 passed, 1 warning, 1 error in "),
        (("nothing", "nothing"), 5, " no tests ran in "),
    ],
)
def test_one_summary(ended: tuple[str, ...], code: int, words: str) -> None:
    """It counts the tests of all lanes; a lane that failed, or died, fails all, and so does a run of nothing."""
    out = io.StringIO()
    scripts = [f"print({WORDS[each]!r}); raise SystemExit({CODES[each]} % 256)" for each in ended]
    made = lanes.run([(sys.executable, "-c", script) for script in scripts], out)
    assert lanes.together(CODES[each] for each in ended) == code
    assert bool(made) == bool(code)
    *output, last = out.getvalue().splitlines()
    assert sorted(output) == sorted("\n".join(WORDS[each] for each in ended).splitlines() + failures(ended))
    assert output[len(output) - len(failures(ended)) :] == failures(ended)
    assert words in last
    assert last.startswith("===")


def test_what_runs_meanwhile_ends_with_the_lanes() -> None:
    """With all that it started; and nothing happens to one that has ended before."""
    with lanes.meanwhile(("sh", "-c", "sleep 1000000 & wait")) as process:
        wait_for(lambda: len(descendants(process.pid)) == 2)
        family = descendants(process.pid)
        assert process.poll() is None
    assert process.returncode == -signal.SIGTERM
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in family))
    with lanes.meanwhile(("true",)) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process.returncode == 0


def test_each_fast_test_is_in_one_part() -> None:
    """What one lane is told to collect, the last one is told to ignore."""
    *parts, other = (command[command.index(lanes.FAST) + 1 :] for command in lanes.commands("fast"))
    folders = [folder for part in parts for folder in part]
    assert list(other) == [f"--ignore={folder}" for folder in folders]
    assert len(folders) == len(set(folders))
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_each_test_is_in_one_lane(request: pytest.FixtureRequest) -> None:
    """What has a lane of its own is `real` as well, in a file that its lane collects, and has no other."""
    assert lanes.LANES == ("qemu", "real and not (qemu or program or beside)", "beside", "not real or program")
    collected = request.config.stash[COLLECTED]
    for name in ("real", "qemu", "beside"):
        files = {item.nodeid.partition("::")[0] for item in collected if item.get_closest_marker(name)}
        assert files <= set(lanes.marked(name))
    some = {name: {item.nodeid for item in collected if item.get_closest_marker(name)} for name in MARKS}
    assert some["qemu"] | some["program"] | some["beside"] <= some["real"]
    assert not some["program"] & some["qemu"]
    assert not some["beside"] & (some["qemu"] | some["program"])
    assert not some["whole_machine"] & (some["program"] | some["beside"])
