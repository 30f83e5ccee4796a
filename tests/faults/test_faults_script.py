"""The script of all campaigns, as a person calls it."""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import evidence
from lab.faults.campaign import Row, table

SCRIPT = Path(__file__).parents[2] / "scripts/fault-campaign"


@dataclass(frozen=True)
class Done:
    """What became of one run."""

    code: int
    stdout: str
    stderr: str


Script = Callable[..., Done]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Runs the script in this process, as root; *rows* is code that takes the place of the campaign `node`."""

    def run(*arguments: str, rows: str = "yield") -> Done:
        names: dict[str, Any] = {"Row": Row}
        exec(f"def campaign(*_):\n    {rows}", names)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(evidence, "digest", lambda: "of this code")  # parses all of it
        monkeypatch.setitem(sys.modules, "lab.faults.node", SimpleNamespace(campaign=names["campaign"]))
        monkeypatch.setattr(sys, "path", [*sys.path])  # to which the script adds
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "no campaign is called nobody"),
        (["--scale", "0"], "--scale is a number above 0"),
        (["--scale", "x"], "invalid float value"),
        (["--no-such-option"], "unrecognized arguments"),
    ],
)
def test_usage_errors_are_64_and_say_what(arguments: list[str], words: str, script: Script) -> None:
    done = script(*arguments)
    assert (done.code, done.stdout) == (64, "")
    assert words in done.stderr


def test_help_has_an_example(script: Script) -> None:
    done = script("--help")
    assert done.code == 0
    assert "scripts/fault-campaign --seed 7 node harm" in done.stdout


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
def test_what_a_campaign_found(rows: str, code: int, words: str, tmp_path: Path, script: Script) -> None:
    """The table, what did not hold with how to repeat it, and the rows for the page of evidence."""
    done = script("--seed", "7", "--scale", "0.5", "--json", str(tmp_path / "rows"), "node", rows=rows)
    assert done.code == code, done.stderr
    assert "| it " in done.stdout
    assert f"node: {words}\n" in done.stdout
    assert "scripts/fault-campaign --seed 7 --scale 0.5 node" in done.stdout
    assert ("it got wet" in done.stderr) == ("it got wet" in rows)
    document = json.loads((tmp_path / "rows").read_text())
    assert (document["seed"], document["scale"]) == (7, 0.5)
    assert [row["campaign"] for row in document["rows"]] == ["node"] * rows.count("Row(")
    assert document["rows"][0]["fault"].startswith("it ")
    assert document["complete"] is (code != 130)


def test_what_is_done_outlives_a_failure(tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    """The campaign itself breaks after hours: the rows until then are on paper and in the file."""
    rows = f"yield {HELD}; yield {FAILED}; raise OSError('the machine is gone')"
    with pytest.raises(OSError, match="the machine is gone"):
        script("--json", str(tmp_path / "rows"), "node", rows=rows)
    assert capsys.readouterr().out.count("| it rains | 3 |") == 2
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
