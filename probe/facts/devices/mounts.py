"""Attempts at the mounts of CDI specifications, as OCI runtimes make them for a Pod with a user namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from probe.facts.devices.model import CdiMount, MountTry, Way, is_bind, mapping_of
from probe.facts.filesystems import attempts
from probe.facts.filesystems.rules import Subject
from probe.facts.model import KernelFacts, ProbeFacts
from probe.facts.tried import Attempt
from probe.host.host import Host
from probe.host.mount_table import MountTable

SOURCES = 100
"""Maximum number of sources that are tried."""
_BELOW = 50


def wanted_tries(mounts: Sequence[CdiMount], maps_mounts: bool) -> dict[tuple[str, bool], None]:
    """(source, recursive) of each distinct bind mount that the runtime maps, in their order."""
    found: dict[tuple[str, bool], None] = {}
    for mount in mounts:
        mapping = mapping_of(mount, maps_mounts)
        if mapping and is_bind(mount):
            found[mount.source, mapping == "ridmap" and "rbind" in mount.options] = None
    return found


def try_mounts(
    host: Host,
    bench: attempts.Bench,
    table: MountTable,
    wanted: Sequence[tuple[str, bool]],
    ways: Mapping[str, Way],
    probe: ProbeFacts,
    kernel: KernelFacts,
) -> tuple[MountTry, ...]:
    """Attempt at each source that exists; where a whole tree is refused, at each mount in it."""
    subjects: dict[tuple[str, bool], Subject] = {}
    for source, recursive in wanted[:SOURCES]:
        place = ways[source][0].value if source in ways else None
        if place is not None:
            subject = attempts.subject_of(table, "path", place.path)
            # The whole tree is mapped, so no file of a mount below belongs to nobody.
            subjects[source, recursive] = replace(
                subject, recursive=recursive, mounts_below=0 if recursive else subject.mounts_below
            )
    if not subjects:
        return ()
    held = attempts.held_devices(host.processes().value or (), host)
    tried = _try(bench, list(subjects.values()), table, held, probe, kernel)
    found = []
    for (source, recursive), row in zip(subjects, tried, strict=True):
        refusing: tuple[str, ...] = ()
        if recursive and row.result == "refused":
            refusing = _refusing(bench, row.path, table, held, probe, kernel)
        found.append(MountTry(source=source, recursive=recursive, attempt=row, refusing=refusing))
    return tuple(found)


def _refusing(
    bench: attempts.Bench,
    path: str,
    table: MountTable,
    held: frozenset[str],
    probe: ProbeFacts,
    kernel: KernelFacts,
) -> tuple[str, ...]:
    """Mount points of the tree at *path* that refuse a mapping, as `/path (overlay)`."""
    points = [path, *sorted(set(table.points_below(path)))[:_BELOW]]
    rows = _try(bench, [attempts.subject_of(table, "path", one) for one in points], table, held, probe, kernel)
    return tuple(f"{row.path} ({row.fstype})" for row in rows if row.result == "refused")[:5]


def _try(
    bench: attempts.Bench,
    subjects: Sequence[Subject],
    table: MountTable,
    held: frozenset[str],
    probe: ProbeFacts,
    kernel: KernelFacts,
) -> tuple[Attempt, ...]:
    # What works elsewhere tells what EPERM means.
    rows = attempts.try_subjects(bench, [*subjects, attempts.TMPFS], table, held)
    return attempts.judge(rows, bench, probe, kernel, oci_runtime="runc")[:-1]
