"""Nearest existing parent of a directory that a daemon will make."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from probe.host.host import Host
from probe.host.places import Place, above
from probe.reading import Reading


def nearest(host: Host, pid: int, directory: str) -> Reading[Place]:
    """The first folder that exists on the way from *directory* upwards, as process *pid* sees it; `/` only for `/`."""
    way = above(directory)[:0:-1] or ["/"]
    return first_existing(host, pid, host.places(pid, way), way)


def first_existing(host: Host, pid: int, found: Mapping[str, Reading[Place]], way: Sequence[str]) -> Reading[Place]:
    """The first of *found* on the *way* up that exists; the lowest where none does.

    A symlink whose target is missing exists as well: mkdir(2) answers EEXIST.
    """
    for below, step in zip(("", *way), way, strict=False):
        if found[step].kind == "absent":
            continue
        parent = found[step].value
        return (parent and below and _dangling(host, pid, parent, below)) or found[step]
    return found[way[0]]


def _dangling(host: Host, pid: int, parent: Place, path: str) -> Reading[Place] | None:
    """The symlink without a target at *path* in *parent*; None for none."""
    real = os.path.join(parent.path, os.path.basename(path))
    if host.read_link(f"/proc/{pid}/root{real}").value is None:
        return None
    return Reading(path, Place(path=real, mode=stat.S_IFLNK | 0o777, uid=0, gid=0))
