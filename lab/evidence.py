"""docs/evidence.md: what the two campaigns found, and of which code.

docs/evidence.json holds the figures as the campaigns wrote them. Each names the digest of the code that it ran. The
page tells how many modules changed since; a release needs campaigns of the code that it releases.
"""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from lab.faults.campaign import CAMPAIGNS, Row, table
from lab.kernels import matrix
from lab.sabotage import judge

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence.md"
FIGURES = ROOT / "docs" / "evidence.json"

PROBING = (
    "probe/host",
    "probe/facts",
    "probe/checks",
    "probe/reading.py",
    "probe/terms.py",
    "probe/finding.py",
    "probe/proof.py",
    "probe/settings.py",
    "probe/verdict.py",
    "probe/report.py",
    "probe/make_report.py",
)
"""The code that decides what is said of a node; what comes after it only says it."""


def digest() -> str:
    """SHA-256 over the probing modules of this checkout: names and syntax trees, docstrings and comments left out."""
    return _together(modules())


def digest_at(commit: str) -> str:
    """The same over the modules of *commit*. *Errors*: CalledProcessError when git does not know it."""
    names = git("ls-tree", "-r", "--name-only", commit, "--", *PROBING).decode().splitlines()
    return _together({name: _module(git("show", f"{commit}:{name}")) for name in names if name.endswith(".py")})


def modules() -> dict[str, str]:
    """Name of each probing module -> SHA-256 of its syntax tree."""
    files = {file for name in PROBING for file in (ROOT / name, *(ROOT / name).rglob("*.py")) if file.is_file()}
    return {str(file.relative_to(ROOT)): _module(file.read_bytes()) for file in sorted(files)}


def present() -> dict[str, Any]:
    """What identifies the code of this checkout: `commit`, `digest` and `modules`; the commit is empty without git."""
    try:
        commit = git("rev-parse", "HEAD").decode().strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        commit = ""
    return {"commit": commit, "digest": digest(), "modules": modules()}


def changed(figures: dict[str, Any]) -> list[str]:
    """Names of the probing modules that are new, gone or different since one of the runs behind *figures*."""
    now, runs = modules(), [figures["modules"]]
    runs += [figures["sabotage"]["modules"]] if "sabotage" in figures else []
    return sorted({name for then in runs for name in now.keys() | then.keys() if now.get(name) != then.get(name)})


def text_of(figures: Any, depth: int = 3, indent: str = "\n") -> str:
    """*figures* as JSON, a line for each break and module, so that a difference shows which changed."""
    inner = f"{indent} "
    if depth and isinstance(figures, dict):
        pairs = (f"{json.dumps(key)}: {text_of(value, depth - 1, inner)}" for key, value in figures.items())
        return f"{{{inner}{f',{inner}'.join(pairs)}{indent}}}"
    if depth and isinstance(figures, list):
        return f"[{inner}{f',{inner}'.join(text_of(one, depth - 1, inner) for one in figures)}{indent}]"
    return json.dumps(figures)


def slim(sabotage: dict[str, Any]) -> dict[str, Any]:
    """The document of scripts/sabotage without what the page does not show: messages, and words of the runtime."""
    return {**sabotage, "rows": [_slim_row(row) for row in sabotage["rows"]]}


def _slim_row(row: dict[str, Any]) -> dict[str, Any]:
    def said(report: dict[str, Any] | None) -> dict[str, Any] | None:
        return report and {name: report[name] for name in ("verdict", "reason", "levels", "handlers")}

    fates = {
        handler: {kind: [outcome, ""] for kind, (outcome, _) in kinds.items()}
        for handler, kinds in row["fates"].items()
    }
    kept = {name: row[name] for name in ("name", "kind", "class")}
    return {**kept, "report": said(row["report"]), "with_trial": said(row["with_trial"]), "fates": fates}


def git(*words: str) -> bytes:
    """What git prints of the checkout. *Errors*: CalledProcessError."""
    return subprocess.run(["git", "-C", ROOT, *words], check=True, stdout=subprocess.PIPE).stdout


def problems(figures: dict[str, Any]) -> list[str]:
    """Whatever keeps these figures from being published, a line each."""
    found = []
    for name, document in (("kernels", figures["kernels"]), *(("faults", each) for each in figures["faults"])):
        if document["digest"] != figures["digest"]:
            found.append(f"{name}: made by other code: {document['digest']}")
    found += _problems_of_sabotage(figures)
    for run in figures["kernels"]["runs"]:
        found += [f"Linux {run['series']}: {each}" for each in msgspec.convert(run, matrix.Run).disagreements]
    rows = [row for document in figures["faults"] for row in document["rows"]]
    found += [f"{row['campaign']}: {row['fault']}: did not hold" for row in rows if not _row(row).clean]
    found += [f"{row['campaign']}: {row['fault']}: not injected" for row in rows if not row["injected"]]
    found += [f"{_file(each)}: ended before its time" for each in figures["faults"] if not each["complete"]]
    missing = set(CAMPAIGNS) - {row["campaign"] for row in rows}
    return [*found, *(f"{name}: not run" for name in sorted(missing))]


def _problems_of_sabotage(figures: dict[str, Any]) -> list[str]:
    """None of figures from before there was any."""
    if not (document := figures.get("sabotage")):
        return []
    found = ["sabotage: not of the modules that it names"] * (document["digest"] != _together(document["modules"]))
    found += ["sabotage: ended before its time"] * (not document["complete"])
    found += [f"sabotage: {name}: not broken: {why}" for name, why in document["missing"]]
    return found + [
        f"sabotage: {row['name']}: {row['class']}" for row in document["rows"] if row["class"] in judge.WRONG
    ]


def render(figures: dict[str, Any]) -> str:
    """The page."""
    commands = [f"scripts/fault-campaign --json {_file(each)} {_options(each)}" for each in figures["faults"]]
    options = " ".join(["--json sabotage.json", *figures.get("sabotage", {}).get("options", ())])
    sabotage = f"scripts/sabotage {options}\n" if "sabotage" in figures else ""
    files = " ".join(_file(each) for each in figures["faults"])
    return f"""# Evidence

Written by `scripts/update-evidence` from runs at commit `{figures["commit"]}`.
Since then {figures["changed"]} probing modules were changed, moved or added; there were {len(figures["modules"])}.
`scripts/update-evidence` counts again; `scripts/release` refuses to release while there is any.

To repeat all of it, on a machine that does nothing else; inputs are guided by coverage with `pip install -e '.[fuzz]'`:

```sh
scripts/kernel-matrix --wide --json kernels.json
{sabotage}{chr(10).join(commands)}
scripts/update-evidence kernels.json {"sabotage.json " if sabotage else ""}{files}
```

## Kernels

{matrix.markdown(figures["kernels"]["runs"])}
{_sabotage(figures)}
## Faults

A fault is survived when all that was expected held: an answer in time, honest about what could not be seen, never a
wrong `ready`, no traceback, and all well again without the fault. The worst time is that of a probe, an answer, or a
recovery.
{"".join(_section(name, figures["faults"]) for name in CAMPAIGNS)}"""


def _sabotage(figures: dict[str, Any]) -> str:
    """Nothing for figures from before there was any."""
    if "sabotage" not in figures:
        return ""
    return f"""
## Sabotage

Each row is a node that is broken in one way. The prediction of the probe is compared with real Pods that a real
containerd makes by CRI with `hostUsers: false`: plain, with a token, with emptyDir volumes in memory and on disk, with
a ConfigMap and with a hostPath volume. Host Pods are the control, tried where a Pod did not run. The class is the
worst of node, levels and handlers; `only --try-pod` is a wrong `ready`, which `--try-pod` took back, of a break that
changes nothing which can be read.

Run at commit `{figures["sabotage"]["commit"]}`. Since then {figures["sabotage"]["changed"]} probing modules were
changed, moved or added.

{judge.markdown(figures["sabotage"]["rows"])}
"""


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


def _together(digests: dict[str, str]) -> str:
    lines = [f"{name}\0{each}\n" for name, each in sorted(digests.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _module(content: bytes) -> str:
    return hashlib.sha256(_shape(ast.parse(content)).encode()).hexdigest()


def _shape(node: object) -> str:
    """The syntax tree as text that every Python version writes alike; strings that stand alone are docstrings."""
    if isinstance(node, list):
        return "".join(_shape(each) for each in node if not _is_docstring(each))
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, _shape(value)) for name, value in ast.iter_fields(node) if value is not None)
    return f"({type(node).__name__} {' '.join(f'{name}={text}' for name, text in fields if text)})"


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
