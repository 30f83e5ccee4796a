"""What the files of sysctl.d(5) will set at the next boot."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from probe.host.host import Host
from probe.reading import Reading

DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
"""A file of an earlier directory replaces one of the same name in a later one. *Source*: sysctl.d(5)."""
_SYSCTL_CONF = "/etc/sysctl.conf"
"""Read last by `sysctl --system`; by systemd only where a directory has a link to it."""
_FILES = 200
_LIMIT = 64 << 10
_LINE = re.compile(r"^[ \t]*-?[ \t]*([A-Za-z0-9_./-]{1,200})[ \t]*=[ \t]*(\d{1,10})[ \t]*$", re.MULTILINE)


def gather_boot_limits(host: Host, names: Collection[str]) -> dict[str, Reading[int]]:
    """Value of each sysctl of *names* that a file sets, with the file that wins as source; empty where none does.

    Files that cannot be read count as if they said nothing: this only foretells.
    """
    files: dict[str, str] = {}
    for directory in DIRECTORIES:
        for name in host.list_directory(directory).value or ():
            if name.endswith(".conf"):
                files.setdefault(name, f"{directory}/{name}")
    paths = [files[name] for name in sorted(files)][:_FILES]
    if host.status("/run/systemd/system").kind == "absent":
        paths.append(_SYSCTL_CONF)
    found: dict[str, Reading[int]] = {}
    for path in paths:
        for name, value in parse_sysctls(host.read_text(path, _LIMIT).value or "", names).items():
            found[name] = Reading(path, value)
    return found


def parse_sysctls(text: str, names: Collection[str]) -> dict[str, int]:
    """The numbers that a file gives to *names*, the last of each; `/` may stand for `.`."""
    rows = [(name.replace("/", "."), int(value)) for name, value in _LINE.findall(text)]
    return {name: value for name, value in rows if name in names}


def later_name(name: str, winner: str) -> str:
    """*name* of a file, or one made of it that is read after the file *winner*."""
    last = os.path.basename(winner)
    return name if name >= last else f"{last.removesuffix('.conf')}z-{name}"
