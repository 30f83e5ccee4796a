"""The file in which scripts/sabotage keeps its rows, whole at any instant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.sabotage.row import Break


class OtherCodeError(Exception):
    """A file of rows that other code, or another set of options, has made."""


class Record:
    """The rows and the breaks that could not be made; *path* is None where nobody wants a file."""

    def __init__(self, path: Path | None, made_by: Mapping[str, Any]) -> None:
        """*made_by*: `digest`, `modules` and `commit` of the code, and the `options` of the probes."""
        self.rows: list[dict[str, Any]] = []
        self.missing: list[list[str]] = []
        self._path = path
        self._made_by = dict(made_by)

    def resume(self) -> None:
        """Go on with the rows of an earlier run. *Errors*: OtherCodeError, OSError, ValueError for a broken file."""
        if self._path is None or not self._path.exists():
            return
        document = json.loads(self._path.read_text())
        if any(document[key] != self._made_by[key] for key in ("digest", "options")):
            raise OtherCodeError(f"{self._path} was made by other code or with other options")
        self.rows, self.missing = document["rows"], document["missing"]

    def open(self, wanted: Sequence[Break]) -> list[Break]:
        """Those of *wanted* that have no row yet."""
        done = {row["name"] for row in self.rows} | {name for name, _ in self.missing}
        return [each for each in wanted if each.name not in done]

    def write(self, breaks: Sequence[Break]) -> None:
        """Put the file in place; complete once it has all *breaks*, in their order."""
        if self._path is None:
            return
        order = {each.name: number for number, each in enumerate(breaks)}
        self.rows.sort(key=lambda row: order[row["name"]])
        content = {"complete": not self.open(breaks), "missing": self.missing, "rows": self.rows}
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_text(json.dumps(self._made_by | content, indent=1) + "\n")
        new.rename(self._path)
