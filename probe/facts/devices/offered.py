"""Gatherer of devices for a node that offers some: specifications, device nodes, attempts at mounts, the toolkit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from probe.facts.around import Hook
from probe.facts.devices.folders import read_folders
from probe.facts.devices.listing import CdiListing, root_of
from probe.facts.devices.model import CdiEdits, CdiFolders, CdiSpecification, DeviceFacts, MountTry, Way
from probe.facts.devices.mounts import SOURCES, try_mounts, wanted_tries
from probe.facts.devices.plugins import gather_resources, known_devices, other_resources
from probe.facts.devices.toolkit import gather_toolkit, has_nvidia_runtime
from probe.facts.filesystems.attempts import Bench
from probe.facts.model import HookFacts, KernelFacts, ProbeFacts, RuntimeFacts
from probe.facts.runtime.base_spec import place_hooks
from probe.facts.runtime.namespace import read_mountinfo
from probe.host.host import Host
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo
from probe.reading import Reading, problem_of

PATHS = 500
"""Maximum number of device nodes, mount sources and hooks that are looked at."""
_HANGING = 2  # folders after which no other one is asked
_NVIDIA = "nvidia"


def gather_offered(
    host: Host,
    runtime: Reading[RuntimeFacts],
    hooks: Reading[HookFacts],
    sockets: Reading[tuple[str, ...]],
    bench: Bench,
    probe: ProbeFacts,
    kernel: KernelFacts,
    seen: DeviceFacts,
    listed: Reading[CdiListing],
) -> Reading[DeviceFacts]:
    """*seen* with all that the folders *listed*, the *sockets* of device plugins and NVIDIA's runtime lead to."""
    pid, root = root_of(runtime)
    cdi, maps = listed.parse(lambda listing: read_folders(host, root, listing, listed.source)), seen.maps_mounts
    edits = list(edits_of(cdi.value))
    registered: Reading[tuple[str, ...]] = Reading(sockets.source, ())
    if sockets.value:
        registered = gather_resources(host, sockets.source)
    plugins = known_devices(host, sockets.value or (), registered)
    paths = list(dict.fromkeys((*_paths(edits), *(path for one in plugins for path in one.nodes))))
    ways = _ways(host, pid, paths[:PATHS])
    mounts = [mount for one in edits for mount in one.mounts]
    # Where the version is unknown, both are tried: the same source may be bound with a mapping or without.
    wanted = list(wanted_tries(mounts, maps_mounts=maps.value is not False))
    tries: tuple[MountTry, ...] = ()
    below: dict[str, int] = {}
    if mounts:
        table = read_mountinfo(host, runtime).parse(parse_mountinfo).parse(MountTable)
        tries = try_mounts(host, bench, table.value, wanted, ways, probe, kernel) if table.value else ()
        below = {one.source: _below(table.value, ways, one.source) for one in mounts}
    facts = replace(
        seen,
        cdi=cdi,
        ways=ways,
        mounts=tries,
        below={source: number for source, number in below.items() if number},
        plugins=plugins,
        resources=other_resources(registered),
        omitted=max(len(paths) - PATHS, 0) + max(len(wanted) - SOURCES, 0),
    )
    by_runtime = has_nvidia_runtime(runtime)
    if by_runtime or any(_NVIDIA in hook.program for one in edits for hook in one.hooks):
        programs = hooks.value.toolkit if hooks.value else problem_of(hooks)
        facts = replace(facts, toolkit=gather_toolkit(host, programs, runtime if by_runtime else None))
    return Reading(cdi.source, facts)


def _ways(host: Host, pid: int, paths: Sequence[str]) -> dict[str, Way]:
    """The file at each path, asked folder by folder: a folder that hangs leaves the files of others known."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(os.path.dirname(path), []).append(path)
    found: dict[str, Way] = {}
    hanging = 0
    for names in folders.values():
        if hanging < _HANGING:
            placed = place_hooks(host, pid, [Hook(when="", path=path) for path in names])
            found |= {one.path: one.steps for one in placed}
            hanging += any(one.steps[0].kind == "timed-out" for one in placed)
    return found


def _below(table: MountTable | None, ways: dict[str, Way], path: str) -> int:
    place = ways[path][0].value if path in ways else None
    return -1 if table is None or place is None else table.below(place.path)


def specifications_of(folders: CdiFolders | None) -> Iterator[CdiSpecification]:
    """All specifications, those of the last folder last."""
    for folder in folders.folders if folders else ():
        yield from folder


def edits_of(folders: CdiFolders | None) -> Iterator[CdiEdits]:
    """Edits of all specifications and devices."""
    for one in specifications_of(folders):
        yield one.edits
        yield from one.devices.values()


def _paths(edits: Sequence[CdiEdits]) -> Iterator[str]:
    """Absolute paths that the runtime uses on the node."""
    for one in edits:
        named = [path for node in one.nodes for path in (node.path, node.host_path)]
        named += [mount.source for mount in one.mounts]
        named += [hook.program for hook in one.hooks]
        yield from (path for path in named if path.startswith("/"))
