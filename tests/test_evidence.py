"""The page of evidence speaks of the code that is here, and of nothing that did not hold."""

from __future__ import annotations

import json
import subprocess
from copy import copy
from pathlib import Path
from typing import Any

import pytest

from lab import evidence
from lab.kernels import packages
from lab.sabotage.fate import KINDS
from lab.sabotage.judge import WRONG

FIGURES: dict[str, Any] = json.loads(evidence.FIGURES.read_text())


def test_the_page_is_made_from_the_figures() -> None:
    """By scripts/update-evidence, and by no hand."""
    assert evidence.PAGE.read_text() == evidence.render(FIGURES)


def test_all_of_it_held() -> None:
    """A figure that did not hold is not published; whether the code has changed since is a question of releases."""
    assert not evidence.problems(FIGURES)


def test_words_change_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docstrings and comments are no code; a changed value is, in whatever module."""
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    module = tmp_path / "probe" / "host" / "one.py"
    module.parent.mkdir(parents=True)
    module.write_text('"""One."""\nLIMIT = 1\n"""Of bytes."""\n')
    before, figures = evidence.digest(), {"modules": evidence.modules()}
    module.write_text('"""Another."""\n# a comment\nLIMIT = 1\n"""Of octets."""\n')
    assert evidence.digest() == before
    assert not evidence.changed(figures)
    module.write_text('"""One."""\nLIMIT = 2\n"""Of bytes."""\n')
    assert evidence.digest() != before
    assert evidence.changed(figures) == ["probe/host/one.py"]


def test_a_release_needs_runs_of_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The release script names each module that changed since."""
    monkeypatch.setattr(evidence, "modules", lambda: FIGURES["modules"] | {"probe/host/new.py": "0"})
    assert evidence.changed({"modules": FIGURES["modules"]}) == ["probe/host/new.py"]
    assert "probe/host/new.py" in evidence.changed(sabotaged())


@pytest.mark.slow
def test_the_commit_that_it_names_has_the_same_code() -> None:
    """Whoever repeats it there runs what was run."""
    try:
        assert evidence.digest_at(FIGURES["commit"]) == FIGURES["digest"]
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("the commit of docs/evidence.md: not in a git checkout that has it")


def test_every_kernel_is_there() -> None:
    """Run, or with the reason why it could not be had."""
    runs = {run["series"]: run for run in FIGURES["kernels"]["runs"]}
    assert {*packages.SERIES, "arm64"} <= set(runs)
    assert all(run["not_run"] or run["judged"]["filesystems"] for run in runs.values())


def unclean() -> list[tuple[str, dict[str, Any], str]]:
    """Figures that must not be published, with what is said of them."""
    found = []
    for name, path, value, words in (
        ("other code for the kernels", ("kernels", "digest"), "0", "kernels: made by other code"),
        ("other code for faults", ("faults", 0, "digest"), "0", "faults: made by other code"),
        ("a guest that failed", ("kernels", "runs", 0, "failed"), "no console", "no console"),
        ("a wrong prediction", ("kernels", "runs", 0, "judged", "filesystems", 0, "agrees"), False, "Linux"),
        ("a wrong report", ("kernels", "runs", 0, "judged", "scenarios", 0, "problems"), ["lies"], "lies"),
        ("something left", ("faults", 0, "rows", 0, "leftovers"), 1, "did not hold"),
        ("a fault that was not injected", ("faults", 0, "rows", 0, "injected"), 0, "not injected"),
        ("a campaign that was interrupted", ("faults", 0, "complete"), False, "ended before its time"),
        ("a campaign that was not run", ("faults",), FIGURES["faults"][:0], "harm: not run"),
    ):
        found.append((name, replaced(FIGURES, path, value), words))
    return found


def replaced(document: Any, path: tuple[str | int, ...], value: object) -> Any:
    """A copy of *document* with *value* at *path*, which shares all else with it."""
    if not path:
        return value
    changed = copy(document)
    changed[path[0]] = replaced(document[path[0]], path[1:], value)
    return changed


def sabotaged(**changes: Any) -> dict[str, Any]:
    """Figures with a table of one break, which agreed unless *changes* say otherwise."""
    fates = {kind: ["runs", ""] for kind in KINDS}
    report = {"verdict": "ready", "reason": "", "levels": {"stateless": "ready"}, "handlers": {}}
    row = {"name": "one", "kind": "control", "class": "agree", "report": report, "with_trial": None}
    row["fates"] = {"runc": fates, "crun": fates}
    document = {
        "commit": FIGURES["commit"],
        "digest": FIGURES["digest"],
        "modules": FIGURES["modules"],
        "changed": 0,
        "complete": True,
        "missing": [],
        "options": ["--try-pod"],
        "rows": [row],
        **changes,
    }
    return {**FIGURES, "sabotage": document}


def test_the_page_has_a_line_for_each_break_once_there_are_any() -> None:
    assert "| one | ready |" in evidence.render(sabotaged())
    assert "scripts/sabotage --json sabotage.json --try-pod" in evidence.render(sabotaged())
    assert not evidence.problems(sabotaged())


def test_what_the_page_does_not_show_is_left_out() -> None:
    """The words of the runtime about each Pod would make the file ten times as long."""
    document = sabotaged()["sabotage"]
    document["rows"][0]["fates"]["runc"]["plain"] = ["fails", "its own words"]
    document["rows"][0]["report"]["message"] = "its own words"
    assert "its own words" not in str(evidence.slim(document))
    slim = {**FIGURES, "sabotage": evidence.slim(document)}
    assert evidence.render(slim) == evidence.render({**FIGURES, "sabotage": document})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": "0"}, "not of the modules"),
        ({"complete": False}, "ended before its time"),
        ({"missing": [["two", "no xfs"]]}, "two: not broken: no xfs"),
        *(({"rows": [{"name": "one", "class": word}]}, f"one: {word}") for word in WRONG),
    ],
)
def test_a_wrong_prediction_of_a_broken_node_is_not_published(changes: dict[str, Any], words: str) -> None:
    assert words in "\n".join(evidence.problems(sabotaged(**changes)))


@pytest.mark.parametrize(("figures", "words"), [pytest.param(*each, id=name) for name, *each in unclean()])
def test_what_did_not_hold_is_not_published(figures: dict[str, Any], words: str) -> None:
    """Each in words that say what it is."""
    assert words in "\n".join(evidence.problems(figures))
