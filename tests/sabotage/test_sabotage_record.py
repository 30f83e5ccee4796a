"""The file of scripts/sabotage, with which a run that takes an hour is made in slices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.sabotage.breaks import BREAKS
from lab.sabotage.record import OtherCodeError, Record

MADE_BY = {"digest": "digest", "options": [], "commit": "c"}


def row(name: str) -> dict[str, Any]:
    return {"name": name, "class": "agree"}


def test_a_run_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """Rows stay in the order of the breaks; the file is complete when it has all of them."""
    path, some = tmp_path / "rows.json", BREAKS[:3]
    first = Record(path, MADE_BY)
    first.rows.append(row(some[2].name))
    first.write(some)
    assert json.loads(path.read_text())["complete"] is False
    second = Record(path, MADE_BY)
    second.resume()
    assert second.open(some) == list(some[:2])
    second.rows.append(row(some[0].name))
    second.missing.append([some[1].name, "no xfs"])
    second.write(some)
    document = json.loads(path.read_text())
    assert document["complete"] is True
    assert [each["name"] for each in document["rows"]] == [some[0].name, some[2].name]


@pytest.mark.parametrize(("digest", "options"), [("other", []), ("digest", ["--try-pod"])])
def test_rows_of_other_code_are_not_mixed(tmp_path: Path, digest: str, options: list[str]) -> None:
    """A table speaks of one state of the code, asked in one way."""
    path = tmp_path / "rows.json"
    Record(path, MADE_BY).write(BREAKS)
    with pytest.raises(OtherCodeError):
        Record(path, {"digest": digest, "options": options}).resume()


def test_without_a_file_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    """Neither where none was asked for nor before the first slice."""
    for path in (None, tmp_path / "rows.json"):
        record = Record(path, MADE_BY)
        record.resume()
        assert record.open(BREAKS) == list(BREAKS)
