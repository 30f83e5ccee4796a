"""The systemd unit of a daemon, by its cgroup. Pure."""

from __future__ import annotations

import re

_UNIT = re.compile(
    r"^\d+:(?:name=systemd)?:/(?:[^\n]*/)?([A-Za-z0-9@:._-]{1,100}\.service)(?:/(?:libpod|docker)[^\n]*)?$",
    re.MULTILINE,
)


def parse_unit(cgroup: str) -> str:
    """The systemd unit that proc_pid_cgroup(5) names. *Errors*: ValueError outside of any service."""
    found = _UNIT.search(cgroup)
    if not found:
        raise ValueError("belongs to no service of systemd")
    return found[1]
