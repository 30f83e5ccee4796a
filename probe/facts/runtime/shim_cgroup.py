"""The cgroup that containerd's shims join, where one is configured."""

from __future__ import annotations

import os

from probe.facts.around import NO_SHIM_CGROUP
from probe.host.host import Host
from probe.reading import Reading, problem_of

_HIERARCHIES_LIMIT = 30
_CGROUPS = "/sys/fs/cgroup"


def gather_shim_cgroup(host: Host, pid: int, cgroup: str) -> Reading[str]:
    """Path of the cgroup in the hierarchy of cgroup v2, or in the first one of v1 that has it.

    *Source*: containerd, cmd/containerd-shim-runc-v2/manager; containerd/cgroups, `Load` of cgroup1, which leaves out
    hierarchies without that cgroup, and fails when none has it.
    """
    if not cgroup:
        return NO_SHIM_CGROUP
    below = os.path.normpath(f"/{cgroup}")
    unified = host.status(f"/proc/{pid}/root{_CGROUPS}/cgroup.controllers").kind != "absent"
    names = host.list_directory(f"/proc/{pid}/root{_CGROUPS}")
    if not unified and names.value is None:
        return problem_of(names)
    roots = [_CGROUPS] if unified else [f"{_CGROUPS}/{name}" for name in (names.value or ())[:_HIERARCHIES_LIMIT]]
    found = host.places(pid, [f"{root}{below}" for root in roots])
    seen = next((place for place in found.values() if place.kind != "absent"), None)
    if seen is None:
        return Reading.without(cgroup, "absent", "no cgroup hierarchy has it")
    return seen.parse(lambda place: place.path)
