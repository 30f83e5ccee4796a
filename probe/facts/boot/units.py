"""Mount units of systemd that the next boot starts, is kept from starting, or may start."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from probe.facts.boot.fstab import FSTAB, Line
from probe.host.host import Host
from probe.reading import Reading, problem_of

ADMIN = "/etc/systemd/system"
"""Units there precede those that a generator makes of fstab(5)."""
_VENDOR = ("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_GENERATED, _LATE = "/run/systemd/generator", "/run/systemd/generator.late"
"""Directories that generators fill anew at each boot; other units below /run do not outlive it."""
_LIMIT = 1 << 16
_NOT_A_FILE = "is not a regular file"  # a link to /dev/null masks a unit
_PULLS = (".wants", ".requires", ".upholds")

Fate = Literal["none", "mounts", "masked", "unknown"]


class MountUnit(Struct, frozen=True, kw_only=True):
    """The unit of one mount point at the next boot."""

    fate: Fate
    source: str = ""
    line: Line | None = None
    """Its settings as a line of fstab; None where drop-ins or specifiers change them."""
    doubt: Reading[Any] | None = None
    """Reason of an `unknown` one."""


NO_UNIT = MountUnit(fate="none")


class Units:
    """Mount units, each looked for once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, MountUnit] = {}
        self.doubt: Reading[Any] | None = None
        """Problem of the unit that was asked for last, where it may or may not mount."""
        self.used = FSTAB
        """File that decides of the mount that was asked for last."""

    def precede(self, lines: tuple[Line, ...]) -> tuple[Line, ...]:
        """*lines* of fstab, without those that a unit of the administrator masks, and its settings in place of theirs.

        A link that the generator makes for each line wants such a unit.
        """
        names = set(self._host.list_directory(ADMIN).value or ()) if lines else set()
        kept = []
        for line in lines:
            if f"{unit_name(line.mount_point)}.mount" in names:
                unit = self._known[line.mount_point] = find_mount_unit(self._host, line.mount_point, wanted=True)
                if unit.fate != "masked":
                    kept.append(unit.line or line)
            else:
                kept.append(line)
        return tuple(kept)

    def line_of(self, point: str) -> Line | None:
        """Settings of the unit that mounts something at *point*, where they are known."""
        return self._of(point).line

    def mounts(self, point: str) -> bool:
        """True when a unit mounts something at *point*."""
        return self._of(point).fate == "mounts"

    def _of(self, point: str) -> MountUnit:
        if point not in self._known:
            self._known[point] = find_mount_unit(self._host, point)
        self.doubt = self._known[point].doubt
        return self._known[point]


def find_mount_unit(host: Host, mount_point: str, wanted: bool = False) -> MountUnit:
    """The unit that systemd loads for *mount_point*, where it is not made of fstab; *wanted*: a line of fstab wants it.

    *Source*: systemd.unit(5).
    """
    name = f"{unit_name(mount_point)}.mount"
    for directory in (ADMIN, _GENERATED, *_VENDOR, _LATE):
        path = f"{directory}/{name}"
        text = host.read_text(path, _LIMIT)
        if text.kind == "absent":
            continue
        if text.value == "" or text.problem == _NOT_A_FILE:
            return MountUnit(fate="masked", source=path)
        if text.value is None:
            return MountUnit(fate="unknown", source=path, doubt=problem_of(text))
        if directory == _GENERATED and FSTAB in text.value:
            continue
        if not wanted and directory not in (_GENERATED, _LATE) and not _is_wanted(host, name, directory):
            problem = "no target wants it, and whether another unit needs it is not known"
            return MountUnit(fate="unknown", source=path, doubt=Reading.without(path, "not-tried", problem))
        changed = any(host.list_directory(f"{one}/{name}.d").value for one in {ADMIN, directory})
        return MountUnit(
            fate="mounts", source=path, line=None if changed else parse_mount_unit(text.value, path, mount_point)
        )
    return NO_UNIT


def parse_mount_unit(text: str, path: str, mount_point: str) -> Line | None:
    """The section Mount, whose last settings count; None without one, or where one has a specifier (`%h`)."""
    section, found = "", {}
    for raw in text.replace("\\\n", " ").split("\n"):
        line = raw.strip()
        if line.startswith("["):
            section = line
        elif section == "[Mount]" and line and line[0] not in "#;":
            key, _, value = line.partition("=")
            found[key.strip()] = value.strip()
    if "What" not in found or any("%" in value for value in found.values()):
        return None
    options = tuple((found.get("Options") or "defaults").split(",")[:100])
    return Line(found["What"], mount_point, found.get("Type") or "auto", options, path)


def _is_wanted(host: Host, name: str, directory: str) -> bool:
    """Whether a link of an enabled unit, or of its vendor, starts the mount or its automount at boot."""
    names = (name, name.removesuffix("mount") + "automount")
    for parent in dict.fromkeys((ADMIN, directory)):
        for folder in host.list_directory(parent).value or ():
            if folder.endswith(_PULLS) and not set(names).isdisjoint(
                host.list_directory(f"{parent}/{folder}").value or ()
            ):
                return True
    return False


def unit_name(path: str) -> str:
    """Name of the unit of a path, without `.mount`. *Source*: systemd.unit(5), string escaping."""
    return "".join(_escaped(char, index) for index, char in enumerate(path.strip("/"))) or "-"


def _escaped(char: str, index: int) -> str:
    if char == "/":
        return "-"
    if char.isascii() and (char.isalnum() or char in "_:" or (char == "." and index)):
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
