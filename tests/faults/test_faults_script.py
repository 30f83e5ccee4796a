"""The script of all campaigns, as a person calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.faults.campaign import Row, table

ROOT = Path(__file__).parents[2]


def script(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """One run; *code* is run instead of it, in which `main` is its main function."""
    path = ROOT / "scripts/fault-campaign"
    load = f"import runpy, sys; sys.argv = {['x', *arguments]!r}; main = runpy.run_path({str(path)!r})['main']; "
    command = [sys.executable, "-c", load + code] if code else [sys.executable, str(path), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "no campaign is called nobody"),
        (["--scale", "0"], "--scale is a number above 0"),
        (["--scale", "x"], "invalid float value"),
        (["--no-such-option"], "unrecognized arguments"),
    ],
)
def test_usage_errors_are_64_and_say_what(arguments: list[str], words: str) -> None:
    done = script(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert words in done.stderr


def test_help_has_an_example() -> None:
    done = script("--help")
    assert done.returncode == 0
    assert "scripts/fault-campaign --seed 7 node harm" in done.stdout


def campaign(rows: str) -> str:
    """Code that runs the script with those rows in place of the campaign `node`."""
    return (
        "import types, os; from lab.faults.campaign import Row; os.geteuid = lambda: 0\n"
        f"def rows(*_):\n    {rows}\n"
        "sys.modules['lab.faults.node'] = types.SimpleNamespace(campaign=rows); sys.exit(main())"
    )


HELD = "Row('it rains', 3, 3, 0.5, 0)"
FAILED = "Row('it rains', 3, 2, 0.5, 0, ('seed 7, number 1: it got wet',))"
MISSING = "Row('it snows (not run: no cloud)', 0, 0, 0.0, 0)"


@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        (f"yield {HELD}", 0, "all held"),
        (f"yield {FAILED}", 1, "NOT all held"),
        ("yield Row('it rains', 3, 3, 0.5, 2)", 1, "NOT all held"),
        (f"yield {HELD}; yield {MISSING}; yield {MISSING}", 0, "all held, 2 not run"),
        (f"yield {FAILED}; yield {MISSING}", 1, "NOT all held, 1 not run"),
        (f"yield {MISSING}", 0, "nothing, 1 not run"),
        (f"yield {HELD}; raise KeyboardInterrupt", 130, "all held, interrupted"),
    ],
)
def test_what_a_campaign_found(rows: str, code: int, words: str, tmp_path: Path) -> None:
    """The table, what did not hold with how to repeat it, and the rows for the page of evidence."""
    done = script("--seed", "7", "--scale", "0.5", "--json", str(tmp_path / "rows"), "node", code=campaign(rows))
    assert done.returncode == code, done.stderr
    assert "| it " in done.stdout
    assert f"node: {words}\n" in done.stdout
    assert "scripts/fault-campaign --seed 7 --scale 0.5 node" in done.stdout
    assert ("it got wet" in done.stderr) == ("it got wet" in rows)
    document = json.loads((tmp_path / "rows").read_text())
    assert (document["seed"], document["scale"]) == (7, 0.5)
    assert [row["campaign"] for row in document["rows"]] == ["node"] * rows.count("Row(")
    assert document["rows"][0]["fault"].startswith("it ")
    assert document["complete"] is (code != 130)


def test_what_is_done_outlives_a_failure(tmp_path: Path) -> None:
    """The campaign itself breaks after hours: the rows until then are on paper and in the file."""
    rows = f"yield {HELD}; yield {FAILED}; raise OSError('the machine is gone')"
    done = script("--json", str(tmp_path / "rows"), "node", code=campaign(rows))
    assert done.returncode == 1
    assert "the machine is gone" in done.stderr
    assert done.stdout.count("| it rains | 3 |") == 2
    document = json.loads((tmp_path / "rows").read_text())
    assert (len(document["rows"]), document["complete"]) == (2, False)
    assert os.listdir(tmp_path) == ["rows"]


def test_the_table_is_markdown() -> None:
    rows = [Row("kubelet restarts", 10_000, 9_999, 1.234, 0), Row("rubbish", 40_000, 40_000, 0.1, None)]
    assert table(rows).splitlines()[2:] == [
        "| kubelet restarts | 10,000 | 9,999 | 1.23 s | 0 |",
        "| rubbish | 40,000 | 40,000 | 0.10 s | - |",
    ]
    assert [row.clean for row in rows] == [False, True]
