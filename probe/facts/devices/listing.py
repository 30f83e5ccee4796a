"""Lister of the folders with CDI specifications: all that is read of the devices of a node that has none."""

from __future__ import annotations

import os

from msgspec import Struct

from probe.facts.model import RuntimeFacts
from probe.facts.runtime.cdi import DEFAULT_FOLDERS
from probe.host.host import Host
from probe.reading import Reading, problem_of

ENDINGS = (".json", ".yaml")
"""Names of files that a CDI library reads."""


class CdiListing(Struct, frozen=True):
    """Names of specifications by folder, in the order of the folders."""

    folders: dict[str, tuple[str, ...]]

    def is_empty(self) -> bool:
        """True when no folder has a specification."""
        return not any(self.folders.values())


def root_of(runtime: Reading[RuntimeFacts]) -> tuple[int, str]:
    """Pid of the runtime's daemon, and the path of its root directory; those of process 1 where it is not known."""
    confinement = runtime.value.confinement.value if runtime.value else None
    return (confinement.pid, f"/proc/{confinement.pid}/root") if confinement else (1, "")


def list_folders(host: Host, runtime: Reading[RuntimeFacts]) -> Reading[CdiListing]:
    """Files in the folders that the runtime names, else in the default ones; a folder that does not exist has none."""
    _, root = root_of(runtime)
    settings = runtime.value.cdi if runtime.value else problem_of(runtime)
    # The runtime's working directory is its root.
    folders = tuple(os.path.join("/", one) for one in (settings.value.folders if settings.value else DEFAULT_FOLDERS))
    told = "CRI Status" if settings.value else "default folders"
    found: dict[str, tuple[str, ...]] = {}
    for folder in dict.fromkeys(folders):
        names = host.list_directory(f"{root}{folder}")
        if names.value is None and names.kind != "absent":
            return Reading(folder, None, names.problem, names.kind)
        found[folder] = tuple(name for name in names.value or () if name.endswith(ENDINGS))
    return Reading(f"{', '.join(folders)} ({told})", CdiListing(found))
