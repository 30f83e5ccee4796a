"""How scripts/test runs all tests in several processes, and what it makes of them."""

from __future__ import annotations

import io
import sys

import pytest

from lab import lanes
from lab.command import ROOT
from tests.conftest import COLLECTED

WORDS = {
    "passed": "===== 2 passed, 5 deselected, 1 warning in 0.10s =====",
    "failed": "FAILED tests/a.py::test\n===== 1 failed, 3 passed, 1 skipped in 61.00s (0:01:01) =====",
    "broken": "===== 2 passed, 1 error in 0.10s =====",
    "nothing": "===== 7 deselected in 0.10s =====",
    "dead": "Fatal Python error",
}
CODES = {"passed": 0, "failed": 1, "broken": 1, "nothing": 5, "dead": -11}


def failures(ended: tuple[str, ...]) -> list[str]:
    """The lines that name what failed."""
    return [line for each in ended for line in WORDS[each].splitlines() if line.startswith("FAILED")]


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


def test_each_fast_test_is_in_one_half() -> None:
    """What one lane is told to collect, the other one is told to ignore."""
    one, other = (command[command.index(lanes.FAST) + 1 :] for command in lanes.commands("fast"))
    assert other == tuple(f"--ignore={folder}" for folder in one)
    assert all((ROOT / folder).is_dir() for folder in one)


def test_each_test_is_in_one_lane(request: pytest.FixtureRequest) -> None:
    """What boots a kernel needs root, so it is `real` as well: no test is run twice, none is left out."""
    assert lanes.LANES == ("qemu", "real and not qemu", "not real")
    booting = [item for item in request.config.stash[COLLECTED] if item.get_closest_marker("qemu")]
    assert all(item.get_closest_marker("real") for item in booting)
    assert all(item.nodeid.startswith(tuple(f"{folder}/" for folder in lanes.QEMU)) for item in booting)
