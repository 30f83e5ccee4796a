"""Initial environment of a process, from proc_pid_environ(5)."""

from __future__ import annotations

import os
from collections.abc import Mapping

OWN_OF_CONTAINERD = "/opt/containerd"
"""containerd has `bin` and `lib` of it in PATH and LD_LIBRARY_PATH, unseen from outside. *Source*: its plugin `opt`."""


def parse_environment(content: bytes) -> dict[str, str]:
    """Name -> value, with surrogates for bytes that are not UTF-8; the first of two entries with one name wins.

    getenv(3) and Go's os.Getenv return the first, too.
    """
    pairs = [os.fsdecode(variable).partition("=") for variable in content.split(b"\0")]
    return {name: value for name, equals, value in reversed(pairs) if equals}


def search_path(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Absolute directories of PATH; Go's exec.LookPath refuses programs found in relative ones."""
    return tuple(each for each in environment.get("PATH", "").split(":") if each.startswith("/"))
