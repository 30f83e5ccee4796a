"""docs/evidence.md: what the two campaigns found, and of which code.

docs/evidence.json holds the figures as the campaigns wrote them. The digest of the code that probes ties both to it:
when that code changes, the campaigns have to run again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tests.faults.campaign import Row, table
from tests.kernels import matrix

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence.md"
FIGURES = ROOT / "docs" / "evidence.json"

PROBING = ("probe/host", "probe/facts", "probe/checks", "probe/reading.py", "probe/verdict.py", "probe/report.py")
"""The code that decides what is said of a node; what comes after it only says it."""


def digest() -> str:
    """SHA-256 over the names and contents of the probing modules."""
    found = hashlib.sha256()
    for file in probing_files():
        found.update(f"{file.relative_to(ROOT)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def probing_files() -> list[Path]:
    """Every source file that the digest covers."""
    found = [ROOT / name for name in PROBING if name.endswith(".py")]
    for name in PROBING:
        found += (ROOT / name).rglob("*.py")
    return sorted(found)


def render(figures: dict[str, Any]) -> str:
    """The page."""
    faults = figures["faults"]
    return f"""# Evidence

Made by `scripts/update-evidence` from runs of two campaigns at commit `{figures["commit"]}`. SHA-256 of
the modules that probe: `{figures["digest"]}`.
A test fails when they change and this page does not.

Again: `scripts/kernel-matrix --wide --json kernels.json`, `scripts/fault-campaign --seed {faults["seed"]} --scale \
{faults["scale"]:g} --json faults.json`, then `scripts/update-evidence kernels.json faults.json`.

## Kernels

{matrix.markdown(figures["kernels"])}

## Faults

At scale {faults["scale"]:g} with seed {faults["seed"]}, on Linux {faults["kernel"]} and Python {faults["python"]}.
A fault is survived when all that was expected held: an answer in time, honest about what could not be seen, never a
wrong `ready`, no traceback, and all well again without the fault. The worst time is that of a probe, an answer, or a
recovery.
{"".join(_faults(name, faults["rows"]) for name in dict.fromkeys(row["campaign"] for row in faults["rows"]))}"""


def _faults(name: str, rows: list[dict[str, Any]]) -> str:
    made = [Row(**{key: row[key] for key in row if key != "campaign"}) for row in rows if row["campaign"] == name]
    return f"\n### `{name}`\n\n{table(made)}\n"
