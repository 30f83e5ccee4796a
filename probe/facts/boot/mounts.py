"""Mounts that hold directories of the kubelet and the runtime, now and after a boot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from probe.facts.boot.fstab import FSTAB, Line, at_boot, holds, parse_fstab
from probe.facts.boot.model import MountAtBoot, Under
from probe.facts.boot.units import Units
from probe.host.host import Host
from probe.host.mount_table import MountTable, plain
from probe.host.mountinfo import Mount
from probe.reading import Reading, problem_of
from probe.terms import Role

_LIMIT = 1 << 20
_DEPTH = 4  # bind mounts of bind mounts
_UNTOLD: Reading[Under] = Reading.without(FSTAB, "not-tried", "does not tell which file system is mounted there")
_UNNAMED: Reading[Under] = Reading.without(
    FSTAB, "not-tried", "does not tell what mounts the present file system there"
)
_SYSTEMD = "/run/systemd/system"
"""Present if systemd is process 1. *Source*: sd_booted(3)."""
_BOOT = ("/boot", "/efi", "/boot/efi", "/boot/firmware")
_KEPT = ("zfs", "autofs")
"""File systems that services of their own mount at boot."""
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


def boot_automounts(table: MountTable) -> tuple[str, ...]:
    """Directories of boot loaders that autofs(5) covers, as systemd-gpt-auto-generator(8) sets them up."""
    tops = {point: table.mount_of(point) for point in _BOOT}
    return tuple(point for point, top in tops.items() if top and top.fstype == "autofs" and top.mount_point == point)


def gather_mounts(host: Host, table: MountTable, directories: Mapping[Role, str]) -> tuple[MountAtBoot, ...]:
    """One row for each directory that lies in a mount of *table*."""
    fstab = host.read_text(FSTAB, _LIMIT)
    by_systemd = host.status(_SYSTEMD).kind != "absent"
    units = Units(host)
    lines = Reading(FSTAB, ()) if fstab.kind == "absent" else fstab.parse(parse_fstab)
    lines = lines.parse(lambda found: at_boot(found, by_systemd))
    if by_systemd:
        lines = lines.parse(units.precede)
    rows = []
    for role, path in directories.items():
        mount = table.mount_of(path)
        if mount is not None:
            then = _reading(table, lines, path, units, mount.read_only, by_systemd)
            rows.append(MountAtBoot(role=role, now=_of_mount(mount), then=then))
    return tuple(rows)


def _reading(
    table: MountTable, lines: Reading[tuple[Line, ...]], path: str, units: Units, read_only: bool, by_systemd: bool
) -> Reading[Under]:
    """Mount that holds *path* after a boot; *read_only* is the present one."""
    if lines.value is None:
        return problem_of(lines)
    units.doubt, units.used = None, FSTAB
    then = _then(table, lines.value, path, units)
    if then is None:
        return problem_of(units.doubt) if units.doubt else _UNTOLD
    # Another init, or what makes a read-only system usable, mounts what no file names.
    unnamed = then.lost and (not by_systemd or ("ro" in then.options and not read_only))
    return _UNNAMED if unnamed else Reading(units.used, then)


def _then(table: MountTable, lines: tuple[Line, ...], path: str, units: Units, depth: int = _DEPTH) -> Under | None:
    """Mount that holds *path* after a boot; None when no mount is known to."""
    mount = table.mount_of(path)
    lost = ""
    for now in (mount, *table.ancestors(mount)) if mount else ():
        line = _deepest(lines, path)
        if line is not None and len(line.mount_point) < len(now.mount_point):
            line = None
        by_itself = now.mount_point == "/" or now.fstype in _KEPT
        if line is None and not by_itself:
            line = units.line_of(now.mount_point)
        if line is not None:
            units.used = line.file
            return _of_line(table, lines, line, now, path, units, depth, lost)
        if by_itself or units.mounts(now.mount_point):
            return replace(_of_mount(now), lost=lost)
        if units.doubt is not None:
            return None
        lost = lost or now.mount_point
    return None


def _of_line(
    table: MountTable,
    lines: tuple[Line, ...],
    line: Line,
    now: Mount,
    path: str,
    units: Units,
    depth: int,
    lost: str,
) -> Under | None:
    """Mount that *line* makes at boot; *now* is the present one there or above."""
    same = now.mount_point == line.mount_point
    fstype, options = line.fstype, _flags(line.options)
    if line.is_bind:
        below = path[len(line.mount_point) :] if line.mount_point != "/" else path
        origin = _then(table, lines, plain(line.source + below), units, depth - 1) if depth else None
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
    holding = (line for line in reversed(lines) if holds(line.mount_point, path))
    return max(holding, key=lambda line: len(line.mount_point), default=None)
