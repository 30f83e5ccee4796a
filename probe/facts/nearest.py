"""Nearest existing parent of a directory that a daemon will make."""

from __future__ import annotations

from probe.host.host import Host
from probe.host.places import Place, above
from probe.reading import Reading


def nearest(host: Host, pid: int, directory: str) -> Reading[Place]:
    """The first folder that exists on the way from *directory* upwards, as process *pid* sees it; `/` only for `/`."""
    way = above(directory)[:0:-1] or ["/"]
    found = host.places(pid, way)
    return next((found[step] for step in way if found[step].kind != "absent"), found[way[0]])
