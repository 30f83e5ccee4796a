"""Mounts that hold directories of the kubelet and the runtime, now and after a boot."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from probe.facts.boot.model import MountAtBoot, Under
from probe.host.host import Host
from probe.host.mount_table import MountTable
from probe.host.mountinfo import Mount
from probe.reading import Reading, problem_of
from probe.terms import Role

_FSTAB = "/etc/fstab"
_LIMIT = 1 << 20
_LINES = 2000
_DEPTH = 4  # bind mounts of bind mounts
_ESCAPE = r"\\(040|011|012|134)"
_UNITS = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
"""Directories of units that a boot starts anew; those made of fstab lie in /run/systemd/generator."""
_UNTOLD: Reading[Under] = Reading.without(_FSTAB, "not-tried", "does not tell which file system is mounted there")
_UNNAMED: Reading[Under] = Reading.without(
    _FSTAB, "not-tried", "does not tell what mounts the present file system there"
)
_SYSTEMD = "/run/systemd/system"
"""Its presence tells that systemd is process 1. *Source*: sd_booted(3)."""
_KEPT = ("zfs", "autofs")
"""File systems that services of their own mount at boot."""
_AUTOMOUNT = frozenset(("x-systemd.automount", "comment=systemd.automount"))
_MOUNTED_AS = frozenset((("nfs", "nfs4"), ("efs", "nfs4"), ("ntfs", "fuseblk"), ("ntfs-3g", "fuseblk")))
"""Type in fstab(5) and the type in the mount table that its mount helper makes of it; also `X` and `fuse.X`."""
_FLAGS: dict[str, tuple[str, bool]] = {
    "ro": ("ro", True),
    "rw": ("ro", False),
    **{f"no{name}": (f"no{name}", True) for name in ("exec", "suid", "dev", "symfollow")},
    **{name: (f"no{name}", False) for name in ("exec", "suid", "dev", "symfollow")},
}
_USERS = frozenset(("user", "users", "owner", "group"))
"""Options that imply noexec, nosuid and nodev. *Source*: mount(8)."""


class Line(Struct, frozen=True):
    """One line of fstab(5)."""

    source: str
    mount_point: str
    fstype: str
    options: tuple[str, ...]


def gather_mounts(host: Host, table: MountTable, directories: Mapping[Role, str]) -> tuple[MountAtBoot, ...]:
    """One row for each directory that lies in a mount of *table*."""
    fstab = host.read_text(_FSTAB, _LIMIT)
    lines = Reading(_FSTAB, ()) if fstab.kind == "absent" else fstab.parse(parse_fstab)
    kept: dict[str, bool] = {}
    by_systemd = host.status(_SYSTEMD).kind != "absent"

    def is_kept(mount: Mount) -> bool:
        if mount.mount_point not in kept:
            kept[mount.mount_point] = mount.fstype in _KEPT or _has_unit(host, mount.mount_point)
        return kept[mount.mount_point]

    rows = []
    for role, path in directories.items():
        mount = table.mount_of(path)
        if mount is None:
            continue
        then = _then(table, lines.value, path, is_kept) if lines.value is not None else None
        reading: Reading[Under] = problem_of(lines) if lines.value is None else _UNTOLD
        if then is not None:
            # Another init, or what makes a read-only system usable, mounts what no file names.
            unnamed = then.lost and (not by_systemd or ("ro" in then.options and not mount.read_only))
            reading = _UNNAMED if unnamed else Reading(_FSTAB, then)
        rows.append(MountAtBoot(role=role, now=_of_mount(mount), then=reading))
    return tuple(rows)


def parse_fstab(text: str) -> tuple[Line, ...]:
    """Lines that mount something at boot, in their order; of two for one mount point both."""
    found = []
    for raw in text.split("\n")[:_LINES]:
        fields = raw.split()
        if len(fields) < 3 or raw.lstrip().startswith("#"):
            continue
        source, point, fstype = map(_unescaped, fields[:3])
        options = tuple((fields[3] if len(fields) > 3 else "defaults").split(",")[:100])
        at_boot = "noauto" not in options or _AUTOMOUNT.intersection(options)
        if point.startswith("/") and fstype != "swap" and at_boot:
            found.append(Line(source, _plain(point), fstype, options))
    return tuple(found)


def _then(
    table: MountTable, lines: tuple[Line, ...], path: str, is_kept: Callable[[Mount], bool], depth: int = _DEPTH
) -> Under | None:
    """Mount that holds *path* after a boot; None when no mount is known to."""
    mount = table.mount_of(path)
    lost = ""
    for now in (mount, *table.ancestors(mount)) if mount else ():
        line = _deepest(lines, path)
        if line is not None and len(line.mount_point) >= len(now.mount_point):
            return _of_line(table, lines, line, now, path, is_kept, depth, lost)
        if now.mount_point == "/" or is_kept(now):
            under = _of_mount(now)
            return replace(under, lost=lost)
        lost = lost or now.mount_point
    return None


def _of_line(
    table: MountTable,
    lines: tuple[Line, ...],
    line: Line,
    now: Mount,
    path: str,
    is_kept: Callable[[Mount], bool],
    depth: int,
    lost: str,
) -> Under | None:
    """Mount that *line* makes at boot; *now* is the present one there or above."""
    same = now.mount_point == line.mount_point
    fstype, options = line.fstype, _flags(line.options)
    if {"bind", "rbind"} & set(line.options):
        below = path[len(line.mount_point) :] if line.mount_point != "/" else path
        origin = _then(table, lines, _plain(line.source + below), is_kept, depth - 1) if depth else None
        if origin is None:
            return None
        flags = tuple(sorted({*origin.options, *options}))
        return Under(mount_point=line.mount_point, fstype=origin.fstype, options=flags, lost=origin.lost or lost)
    if not same and (fstype in ("auto", "none") or "," in fstype or "nofail" in line.options):
        return None
    if same and (line.mount_point == "/" or fstype in ("auto", "none") or _is_mounted_as(fstype, now.fstype)):
        fstype = now.fstype  # that of the root is not taken from fstab
    return Under(mount_point=line.mount_point, fstype=fstype, options=options, lost=lost)


def _is_mounted_as(fstype: str, now: str) -> bool:
    """Whether a line of type *fstype* makes a mount of type *now*."""
    return (fstype, now) in _MOUNTED_AS or now == f"fuse.{fstype}" or now in fstype.split(",")


def _of_mount(mount: Mount) -> Under:
    flags = {flag for flag in mount.options if flag in _FLAGS and _FLAGS[flag][1]}
    if mount.read_only:
        flags.add("ro")
    return Under(mount_point=mount.mount_point, fstype=mount.fstype, options=tuple(sorted(flags)))


def _flags(options: Sequence[str]) -> tuple[str, ...]:
    """Flags of the options of a line, of which the later ones win."""
    found: dict[str, bool] = {}
    for option in options:
        if option in _USERS:
            found |= dict.fromkeys(("noexec", "nosuid", "nodev"), True)
        elif option in _FLAGS:
            name, on = _FLAGS[option]
            found[name] = on
    return tuple(sorted(name for name, on in found.items() if on))


def _deepest(lines: tuple[Line, ...], path: str) -> Line | None:
    """The line with the deepest mount point that holds *path*; of two for the same one the later, which covers it."""
    holding = (line for line in reversed(lines) if _holds(line.mount_point, path))
    return max(holding, key=lambda line: len(line.mount_point), default=None)


def _holds(mount_point: str, path: str) -> bool:
    return mount_point == "/" or path == mount_point or path.startswith(f"{mount_point}/")


def _has_unit(host: Host, mount_point: str) -> bool:
    name = f"{unit_name(mount_point)}.mount"
    if any(host.status(f"{directory}/{name}").value for directory in _UNITS):
        return True
    generated = host.read_text(f"/run/systemd/generator/{name}", _LIMIT).value
    return generated is not None and _FSTAB not in generated


def unit_name(path: str) -> str:
    """Name of the unit of a path, without `.mount`. *Source*: systemd.unit(5), string escaping."""
    plain = path.strip("/") or "-"
    return "".join(_escaped(char, index) for index, char in enumerate(plain)) if plain != "-" else plain


def _escaped(char: str, index: int) -> str:
    if char == "/":
        return "-"
    if char.isascii() and (char.isalnum() or char in "_:" or (char == "." and index)):
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def _unescaped(field: str) -> str:
    return re.sub(_ESCAPE, lambda found: chr(int(found[1], 8)), field) if "\\" in field else field


def _plain(path: str) -> str:
    return "/" + "/".join(filter(None, path.split("/")))
