"""Lines of fstab(5) that a boot mounts."""

from __future__ import annotations

import re

from msgspec import Struct

from probe.host.mount_table import plain
from probe.host.places import above

FSTAB = "/etc/fstab"
_LINES = 2000
_ESCAPE = r"\\(040|011|012|134)"
_AUTOMOUNT = frozenset(("x-systemd.automount", "comment=systemd.automount"))
_BY_A_UNIT = ("x-systemd.wanted-by=", "x-systemd.required-by=")


class Line(Struct, frozen=True):
    """One line of fstab(5), or a mount unit."""

    source: str
    mount_point: str
    fstype: str
    options: tuple[str, ...]
    file: str = FSTAB

    @property
    def is_bind(self) -> bool:
        """Whether a directory is bound."""
        return not {"bind", "rbind"}.isdisjoint(self.options)


def parse_fstab(text: str) -> tuple[Line, ...]:
    """Lines that mount something, in their order; of two for one mount point both."""
    found = []
    for raw in text.split("\n")[:_LINES]:
        fields = raw.split()
        if len(fields) < 2 or raw.lstrip().startswith("#"):
            continue
        source, point, fstype = map(_unescaped, (*fields[:3], "auto")[:3])
        options = tuple((fields[3] if len(fields) > 3 else "defaults").split(",")[:100])
        if point.startswith("/") and fstype != "swap":
            found.append(Line(source, plain(point), fstype, options))
    return tuple(found)


def at_boot(lines: tuple[Line, ...], by_systemd: bool) -> tuple[Line, ...]:
    """Lines that a boot mounts: under systemd the first of two for one mount point, and each that another one needs.

    *Source*: systemd.mount(5), automatic dependencies; systemd-fstab-generator(8), tried with systemd 252.
    """
    if not by_systemd:
        return tuple(filter(_is_wanted, lines))
    first: dict[str, Line] = {}
    for line in lines:
        if ".." not in line.mount_point.split("/"):
            first.setdefault(line.mount_point, line)
    waiting = list(filter(_is_wanted, first.values()))
    left = {point: line for point, line in first.items() if not _is_wanted(line)}
    found = []
    while waiting:
        line = waiting.pop()
        found.append(line)
        for path in (line.mount_point, line.source) if line.is_bind else (line.mount_point,):
            waiting += [left.pop(step) for step in above(path) if step in left]
    return tuple(found)


def _is_wanted(line: Line) -> bool:
    """Whether the line itself asks to be mounted at boot, or by a unit that it names."""
    auto = next((option == "auto" for option in reversed(line.options) if option in ("auto", "noauto")), True)
    return auto or any(option in _AUTOMOUNT or option.startswith(_BY_A_UNIT) for option in line.options)


def _unescaped(field: str) -> str:
    return re.sub(_ESCAPE, lambda found: chr(int(found[1], 8)), field) if "\\" in field else field


def holds(mount_point: str, path: str) -> bool:
    """True when *path* is the mount point, or below it."""
    return mount_point == "/" or path == mount_point or path.startswith(f"{mount_point}/")
