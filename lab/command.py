"""The frame of scripts/*: help without any environment, the exit codes of sysexits.h(3head), clean Ctrl-C.

Imports the standard library only; a script imports the rest after its arguments are parsed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
USAGE, UNAVAILABLE, INTERRUPTED = 64, 69, 130


class Unavailable(Exception):
    """A tool or package that is not to be had here, with its name."""


class Parser(argparse.ArgumentParser):
    """A parser whose description is the script's docstring, and whose usage errors are one line and exit code 64."""

    def __init__(self, description: str | None, epilog: str = "") -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=name(), description=description, epilog=epilog, formatter_class=formatter)

    def error(self, message: str) -> NoReturn:
        """Print *message* and exit."""
        self.exit(USAGE, f"{self.prog}: {message}\n")

    def need_root(self) -> None:
        """Exit with 64 unless the user is root."""
        if os.geteuid() != 0:
            self.error("needs root")


def natural(text: str) -> int:
    """A whole number of at least 1. *Errors*: ValueError."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with what *main* returns; in the environment of the tests when this Python lacks a package."""
    try:
        sys.exit(main())
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("lab", "probe", "tests"):
            raise  # ours: no environment has it
        python = ROOT / ".venv" / "bin" / "python"
        if python.exists() and Path(sys.prefix) != python.parents[1]:
            os.execv(python, [str(python), *sys.argv])
        leave(
            UNAVAILABLE,
            f"needs the Python package {error.name}: run `scripts/test --fast --version` once, which makes .venv",
        )
    except Unavailable as error:
        leave(UNAVAILABLE, str(error))
    except KeyboardInterrupt:
        leave(INTERRUPTED, "")


def leave(code: int, message: str) -> NoReturn:
    """Exit with *code*, and with *message* on stderr."""
    sys.stderr.write(f"{name()}: {message}\n" if message else "\n")
    sys.exit(code)


def name() -> str:
    """The script as its user calls it from the checkout."""
    return f"scripts/{Path(sys.argv[0]).name}"
