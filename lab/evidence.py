"""docs/evidence.md: what the two campaigns found, and of which code.

docs/evidence.json holds the figures as the campaigns wrote them. Each names the digest of the code that it ran: when
that code changes, the campaigns have to run again.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from lab.faults.campaign import CAMPAIGNS, Row, table
from lab.kernels import matrix

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence.md"
FIGURES = ROOT / "docs" / "evidence.json"

PROBING = (
    "probe/host",
    "probe/facts",
    "probe/checks",
    "probe/reading.py",
    "probe/settings.py",
    "probe/verdict.py",
    "probe/report.py",
)
"""The code that decides what is said of a node; what comes after it only says it."""


def digest() -> str:
    """SHA-256 over the names and contents of the probing modules."""
    files = {file for name in PROBING for file in (ROOT / name, *(ROOT / name).rglob("*.py")) if file.suffix == ".py"}
    return _digest({str(file.relative_to(ROOT)): file.read_bytes() for file in files})


def digest_at(commit: str) -> str:
    """The same of what that commit has. *Errors*: CalledProcessError where git does not know it."""
    names = git("ls-tree", "-r", "--name-only", commit, "--", *PROBING).decode().splitlines()
    return _digest({name: git("show", f"{commit}:{name}") for name in names if name.endswith(".py")})


def git(*words: str) -> bytes:
    """What git prints of the checkout. *Errors*: CalledProcessError."""
    return subprocess.run(["git", "-C", ROOT, *words], check=True, stdout=subprocess.PIPE).stdout


def problems(figures: dict[str, Any]) -> list[str]:
    """Whatever keeps these figures from being published, a line each."""
    found = []
    for name, document in (("kernels", figures["kernels"]), *(("faults", each) for each in figures["faults"])):
        if document["digest"] != figures["digest"]:
            found.append(f"{name}: made by other code: {document['digest']}")
    for run in figures["kernels"]["runs"]:
        found += [f"Linux {run['series']}: {each}" for each in msgspec.convert(run, matrix.Run).disagreements]
    rows = [row for document in figures["faults"] for row in document["rows"]]
    found += [f"{row['campaign']}: {row['fault']}: did not hold" for row in rows if not _row(row).clean]
    found += [f"{row['campaign']}: {row['fault']}: not injected" for row in rows if not row["injected"]]
    found += [f"{_file(each)}: ended before its time" for each in figures["faults"] if not each["complete"]]
    missing = set(CAMPAIGNS) - {row["campaign"] for row in rows}
    return [*found, *(f"{name}: not run" for name in sorted(missing))]


def render(figures: dict[str, Any]) -> str:
    """The page."""
    commands = [f"scripts/fault-campaign --json {_file(each)} {_options(each)}" for each in figures["faults"]]
    files = " ".join(_file(each) for each in figures["faults"])
    return f"""# Evidence

Written by `scripts/update-evidence` from runs at commit `{figures["commit"]}`.
SHA-256 of the modules that probe: `{figures["digest"]}`.
A test fails when they change and this page does not.

To repeat all of it, on a machine that does nothing else; inputs are guided by coverage with `pip install -e '.[fuzz]'`:

```sh
scripts/kernel-matrix --wide --json kernels.json
{chr(10).join(commands)}
scripts/update-evidence kernels.json {files}
```

## Kernels

{matrix.markdown(figures["kernels"]["runs"])}

## Faults

A fault is survived when all that was expected held: an answer in time, honest about what could not be seen, never a
wrong `ready`, no traceback, and all well again without the fault. The worst time is that of a probe, an answer, or a
recovery.
{"".join(_section(name, figures["faults"]) for name in CAMPAIGNS)}"""


def _section(name: str, documents: Sequence[dict[str, Any]]) -> str:
    """One campaign, with each of its runs."""
    runs = [_run(name, each) for each in documents if name in _campaigns(each)]
    return "\n".join(["", f"### {name}: {CAMPAIGNS[name]}", *runs])


def _run(name: str, document: dict[str, Any]) -> str:
    rows = [_row(row) for row in document["rows"] if row["campaign"] == name]
    return f"""
Seed {document["seed"]}, scale {document["scale"]:g}, Linux {document["kernel"]}, Python {document["python"]}.

{table(rows)}
"""


def _campaigns(document: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["campaign"] for row in document["rows"]))


def _options(document: dict[str, Any]) -> str:
    return f"--seed {document['seed']} --scale {document['scale']:g} {' '.join(_campaigns(document))}"


def _file(document: dict[str, Any]) -> str:
    return f"{'-'.join(_campaigns(document))}-{document['seed']}.json"


def _row(document: dict[str, Any]) -> Row:
    fields = {key: value for key, value in document.items() if key != "campaign"}
    return Row(**fields | {"problems": tuple(fields["problems"])})


def _digest(contents: dict[str, bytes]) -> str:
    lines = [f"{name}\0{hashlib.sha256(content).hexdigest()}\n" for name, content in sorted(contents.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
