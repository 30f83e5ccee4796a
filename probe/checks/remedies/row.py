"""One row of the table of remedies."""

from __future__ import annotations

from textwrap import dedent
from typing import NamedTuple

from probe.checks.remedies.platforms import PLATFORMS, SERVICES


class Remedy(NamedTuple):
    """One row of the table."""

    check: str
    """Empty: whatever check gives the reason."""
    reason: str
    """Empty: of a warning."""
    platform: str
    """One of PLATFORMS. Empty: all that have no row of their own."""
    source: str
    text: str


def row(where: tuple[str, str], platform: str, source: str, text: str) -> Remedy:
    """*text* with its sentences on one line each: whoever shows them wraps them."""
    lines: list[str] = []
    for line in dedent(text).strip("\n").split("\n"):
        if lines and " " not in (line[0], lines[-1][0]):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return Remedy(*where, platform, source, "\n".join(lines))


def k3s_and_rke2(where: tuple[str, str], source: str, text: str) -> tuple[Remedy, ...]:
    """One row each: NAME stands for `k3s` and `rke2`, RESTART for the command that restarts their service."""
    return tuple(
        row(where, name, f"{PLATFORMS[name]} documentation, {source}", fitted)
        for name in ("k3s", "rke2")
        for fitted in (text.replace("NAME", name).replace("RESTART", SERVICES[name]),)
    )
