"""The environment of a process, as proc_pid_environ(5) has it since the process began."""

from __future__ import annotations

import os
from collections.abc import Mapping


def parse_environment(content: bytes) -> dict[str, str]:
    """Values by name, with surrogates for bytes that are no UTF-8; of a name that stands there twice the first value.

    That one is also the one that getenv(3) and Go's os.Getenv return.
    """
    pairs = [os.fsdecode(variable).partition("=") for variable in content.split(b"\0")]
    return {name: value for name, equals, value in reversed(pairs) if equals}


def search_path(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The absolute directories of PATH. In others, Go's exec.LookPath finds no program that it would run."""
    return tuple(each for each in environment.get("PATH", "").split(":") if each.startswith("/"))
