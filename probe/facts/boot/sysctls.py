"""Values that the files of sysctl.d(5) set at the next boot."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct
from msgspec.structs import replace

from probe.host.host import Host
from probe.reading import Reading

DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
"""A file of an earlier directory replaces one of the same name in a later one. *Source*: sysctl.d(5)."""
_RUN = "/run/sysctl.d"
_SYSCTL_CONF = "/etc/sysctl.conf"
"""Read last by `sysctl --system`; by systemd only where a directory has a link to it."""
_FILES = 200
_LIMIT = 64 << 10
_NUMBER = r"(0[xX][0-9a-fA-F]{1,8}|0[0-7]{0,11}|[1-9][0-9]{0,9})(?:[ \t]|$)"
_LARGEST = (1 << 31) - 1
_SWAP = str.maketrans("./", "/.")
_NOT_A_FILE = "is not a regular file"  # a link to /dev/null masks a file


class BootSysctls(Struct, frozen=True, kw_only=True):
    """Result of all files together."""

    values: dict[str, Reading[int]]
    """By sysctl name, with the file that wins as source; names that no file sets are missing."""
    unread: tuple[Reading[str], ...] = ()
    """Files and directories that could not be read: any of them may set anything."""


Assignments = dict[str, tuple[str | None, str]]
"""Key, a path that may be a glob -> (value, file); None excludes the key from globs. The order is that of writes."""


def gather_boot_sysctls(host: Host, names: Collection[str]) -> BootSysctls:
    """Value of each sysctl of *names* that a file sets, as systemd-sysctl(8) applies them.

    A file below /run counts as if something wrote it again; where others decide otherwise, it is named as unread.
    """
    found = _gather(host, names, DIRECTORIES)
    if not any(name.endswith(".conf") for name in host.list_directory(_RUN).value or ()):
        return found
    without = _gather(host, names, tuple(each for each in DIRECTORIES if each != _RUN))
    doubts: list[Reading[str]] = [
        Reading.without(_RUN, "not-tried", f"a boot empties it, and {name} then depends on what writes it again")
        for name in names
        if _number(found, name) != _number(without, name)
    ]
    return replace(found, unread=(*found.unread, *doubts))


def _number(found: BootSysctls, name: str) -> int | None:
    return found.values[name].value if name in found.values else None


def _gather(host: Host, names: Collection[str], directories: Sequence[str]) -> BootSysctls:
    by_systemd = host.status("/run/systemd/system").kind != "absent"
    files: dict[str, str] = {}
    unread: list[Reading[str]] = []
    for directory in directories:
        listed = host.list_directory(directory)
        if listed.value is None and listed.kind != "absent":
            unread.append(Reading(listed.source, None, listed.problem, listed.kind))
        for name in listed.value or ():
            if name.endswith(".conf") and not (by_systemd and name.startswith(".")):
                files.setdefault(name, f"{directory}/{name}")
    paths = [files[name] for name in sorted(files)]
    if len(paths) > _FILES:
        unread.append(Reading.without("sysctl.d", "not-readable", f"has more than {_FILES} files"))
    paths = paths[:_FILES]
    if not by_systemd:
        paths.append(_SYSCTL_CONF)
    assigned: Assignments = {}
    folders = {name.partition(".")[0] for name in names}
    for path in paths:
        text = host.read_text(path, _LIMIT)
        if text.value is None and text.kind != "absent" and text.problem != _NOT_A_FILE:
            unread.append(text)
        for key, value in parse_sysctls(text.value or ""):
            folder = key.partition("/")[0]
            if folder in folders or any(fnmatchcase(each, folder) for each in folders):
                assigned.pop(key, None)
                assigned[key] = value, path
    return BootSysctls(values=winners(assigned, names), unread=tuple(unread))


def parse_sysctls(text: str) -> list[tuple[str, str | None]]:
    """Keys of a file, as paths below /proc/sys, each with its value; None for `-KEY`, which no glob sets."""
    found: list[tuple[str, str | None]] = []
    for raw in text.split("\n"):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        if equals:
            found.append((_path(key.strip().removeprefix("-")), value.strip()))
        elif line.startswith("-"):
            found.append((_path(line[1:]), None))
    return found


def winners(assigned: Mapping[str, tuple[str | None, str]], names: Collection[str]) -> dict[str, Reading[int]]:
    """Number that is written for each of *names*; a glob sets only what no line names. *Source*: sysctl.d(5).

    A value that the kernel refuses sets nothing, and leaves what an earlier glob has set.
    """
    globs = [(key.split("/"), rest) for key, rest in assigned.items() if any(char in key for char in "*?[")]
    found: dict[str, Reading[int]] = {}
    for name in names:
        path = name.replace(".", "/")
        own = assigned.get(path)
        for value, file in [own] if own else (rest for keys, rest in reversed(globs) if _matches(path, keys)):
            number = kernel_number(value or "")
            if number is not None:
                found[name] = Reading(file, number)
                break
    return found


def kernel_number(value: str) -> int | None:
    """Number that the kernel reads: decimal, octal or hexadecimal, from 0 to 2147483647; None when it refuses it."""
    found = re.match(_NUMBER, value)
    if not found:
        return None
    word = found[1]
    number = int(word, 16 if word[:2] in ("0x", "0X") else 8 if word[0] == "0" else 10)
    return number if number <= _LARGEST else None


def later_name(name: str, winner: str) -> str:
    """*name* of a file, or one made of it that is read after the file *winner*."""
    last = os.path.basename(winner)
    return name if name >= last else f"{last.removesuffix('.conf')}z-{name}"


def _path(key: str) -> str:
    """A key as a path: where a dot is its first separator, dots and slashes are exchanged."""
    first = next((char for char in key if char in "./"), "")
    path = key.translate(_SWAP) if first == "." else key
    return "/".join(filter(None, path.split("/")))


def _matches(path: str, pattern: list[str]) -> bool:
    parts = path.split("/")
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))
