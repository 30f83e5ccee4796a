"""Reader of the folders with CDI specifications, which drivers write. No symlink is followed, no FIFO is opened."""

from __future__ import annotations

from collections.abc import Sequence

from probe.facts.devices.listing import CdiListing, list_folders, root_of
from probe.facts.devices.model import CdiFolders, CdiSpecification
from probe.facts.devices.specification import parse_specification
from probe.facts.model import RuntimeFacts
from probe.host.host import Host
from probe.reading import Reading, problem_of

FILES = 300
"""Maximum number of files read of one folder; a driver that writes one per claim may leave thousands."""
FILE_LIMIT = 1 << 18
YAML_LIMIT = 1 << 19
"""Bytes of YAML that are parsed in one probe. YAML takes a thousand times as long as JSON."""
EDITS = 20_000
"""Devices and edits of all specifications together."""
_SHOWN = 5


def gather_folders(host: Host, runtime: Reading[RuntimeFacts]) -> Reading[CdiFolders]:
    """Specifications in the folders that the runtime names, else in the default ones."""
    listed = list_folders(host, runtime)
    return listed.parse(lambda listing: read_folders(host, root_of(runtime)[1], listing, listed.source))


def read_folders(host: Host, root: str, listing: CdiListing, source: str) -> CdiFolders:
    """Specifications that *listing* names, below the directory *root*; *source* is that of the listing."""
    budget, room = YAML_LIMIT, EDITS
    specifications: list[tuple[CdiSpecification, ...]] = []
    unread: list[Reading[str]] = []
    found = not_read = 0
    for folder, wanted in listing.folders.items():
        read = _read(host, root, folder, wanted)
        found += len(wanted)
        not_read += len(wanted) - len(read)
        parsed = []
        for name, content in read.items():
            if content.kind == "absent":  # its device is gone
                found -= 1
                continue
            file, size = f"{folder}/{name}", 0 if name.endswith(".json") else len(content.value or b"")
            if size > budget:
                content = Reading.without(file, "not-readable", f"more than {YAML_LIMIT} bytes of YAML in all files")
            else:
                budget -= size
            one = Reading(file, content.value, content.problem, content.kind).parse(
                lambda text, file=file: parse_specification(text, file)  # type: ignore[misc]
            )
            room -= _size(one.value) if one.value else 0
            if one.value is None:
                unread.append(problem_of(one))
            elif room < 0:
                unread.append(Reading.without(file, "not-readable", f"more than {EDITS} edits in all files"))
            else:
                parsed.append(one.value)
        specifications.append(tuple(parsed))
    if len(unread) + not_read and not unread:
        unread = [Reading.without(source, "not-readable", f"more than {FILES} files, or names that are not text")]
    return CdiFolders(
        folders=tuple(specifications),
        found=found,
        unread=tuple(unread[:_SHOWN]),
        unread_count=not_read + len([one for one in unread if one.source != source]),
    )


def _size(one: CdiSpecification) -> int:
    """Number of its devices and edits."""
    parts = (one.edits, *one.devices.values())
    return sum(1 + len(part.nodes) + len(part.mounts) + len(part.hooks) for part in parts)


def _read(host: Host, root: str, folder: str, names: Sequence[str]) -> dict[str, Reading[bytes]]:
    """Name -> content; of names that are not text, and of those beyond FILES, nothing."""
    asked = [name for name in names if name.isprintable()][:FILES]
    return host.read_all_beneath(f"{root}{folder}", asked, FILE_LIMIT) if asked else {}
