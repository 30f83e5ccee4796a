"""Parser of mountinfo. Pure: it touches no mounted file system."""

from __future__ import annotations

import os
import re
import sys

from msgspec import Struct

_DIGITS = 10
_DEVICE = re.compile(rb"\d{1,10}:\d{1,10}")
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")

_Rest = tuple[tuple[str, ...], tuple[str, ...], str, str, str, bool]
"""The fields of a Mount from its options on."""

_SERVED = re.compile(
    r"(9p|afs|autofs|beegfs|ceph|cifs|coda|fuse|fuseblk|gpfs|lustre|nfs|nfs4|orangefs|smb3|virtiofs)(\..*)?"
)
"""File systems where looking up a name may wait for a server."""


def is_served(fstype: str) -> bool:
    """True when a lookup in a file system of this type may wait for a server."""
    return _SERVED.fullmatch(fstype) is not None


class Mount(Struct, frozen=True, gc=False):
    """One line of proc_pid_mountinfo(5)."""

    mount_id: int
    parent_id: int
    device: str
    """`major:minor` of the superblock; st_dev of its files may differ (btrfs)."""
    root: str
    """Mounted directory of the file system; `/` when the whole of it is mounted."""
    mount_point: str
    """Decoded by os.fsdecode, for system calls; use `printable` for text."""
    options: tuple[str, ...]
    """Options of the mount: `ro`, `noatime`, `idmapped`."""
    propagation: tuple[str, ...]
    """The optional fields: `shared:5`, `unbindable`."""
    fstype: str
    source: str
    super_options: str
    """Options of the superblock, separated by commas."""
    read_only: bool
    """True when the mount or its superblock is read-only."""


def printable(path: str) -> str:
    """A path from os.fsdecode with `\\xff` for each byte that is not UTF-8, so that JSON can encode it."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def parse_mountinfo(content: bytes) -> tuple[Mount, ...]:
    """Mounts in the order of the file; ValueError names the malformed line.

    Mount points and roots keep undecodable bytes as surrogates, for system calls; other fields are printable.
    *Source*: proc_pid_mountinfo(5).
    """
    *lines, rest = content.split(b"\n")
    if rest or not lines:
        raise ValueError(f"line {len(lines) + 1} is cut off")
    fields = _Fields()
    return tuple(fields.mount(line, number) for number, line in enumerate(lines, 1))


class _Fields:
    """Decoder of the fields of a line; equal fields of many lines are decoded once and share one object."""

    def __init__(self) -> None:
        self._parents: dict[bytes, int] = {}
        self._devices: dict[bytes, str] = {}
        self._roots: dict[bytes, str] = {}
        self._rests: dict[bytes, _Rest] = {}
        self._options: dict[bytes, tuple[str, ...]] = {}
        self._filesystems: dict[bytes, tuple[str, str, str]] = {}

    def mount(self, line: bytes, number: int) -> Mount:
        """One line. *Errors*: ValueError."""
        try:
            # Only space, tab, newline and backslash are escaped: a mount point may contain any other byte.
            mount_id, parent, device, root, point, rest = line.split(b" ", 5)
            return Mount(
                _number(mount_id),
                self._parents.get(parent) or self._parents.setdefault(parent, _number(parent)),
                self._devices.get(device) or self._read_device(device),
                self._roots.get(root) or self._roots.setdefault(root, _path(root)),
                _path(point),
                *(self._rests.get(rest) or self._read_rest(rest)),
            )
        except ValueError:
            shown = line[:80].decode("utf-8", "backslashreplace")
            raise ValueError(f"line {number} is not a mount: {shown!r}") from None

    def _read_device(self, field: bytes) -> str:
        if not _DEVICE.fullmatch(field):
            raise ValueError
        return self._devices.setdefault(field, field.decode("ascii"))

    def _read_rest(self, rest: bytes) -> _Rest:
        """All that follows the mount point: options, optional fields until the first lone dash, the file system."""
        attributes, _, filesystem = rest.partition(b" - ")
        first, *propagation = attributes.split(b" ")  # of which each mount may have its own: the number of a peer group
        if not first or first == b"-" or not all(propagation):
            raise ValueError
        options = self._options.get(first) or self._options.setdefault(first, tuple(_text(first).split(",")))
        fstype, source, superblock = self._filesystems.get(filesystem) or self._read_filesystem(filesystem)
        read_only = "ro" in options or ",ro," in f",{superblock},"
        read = (options, tuple(map(_text, propagation)), fstype, source, superblock, read_only)
        return self._rests.setdefault(rest, read)

    def _read_filesystem(self, content: bytes) -> tuple[str, str, str]:
        fstype, source, *super_options = content.split(b" ", 2)  # the source may be empty; of the options nothing ends
        if not fstype:
            raise ValueError
        read = (_text(fstype), _text(source), _text(b"".join(super_options)))
        return self._filesystems.setdefault(content, read)


def _number(field: bytes) -> int:
    if not field.isdigit() or len(field) > _DIGITS:
        raise ValueError
    return int(field)


def _path(field: bytes) -> str:
    """os.fsdecode without its lookup of the encoding on each call."""
    if not field or field == b"-":  # the dash ends the optional fields, which come later
        raise ValueError
    return (_unescape(field) if b"\\" in field else field).decode(_ENCODING, _ERRORS)


def _unescape(field: bytes) -> bytes:
    return _OCTAL.sub(lambda found: bytes((int(found[1], 8),)), field) if b"\\" in field else field


def _text(field: bytes) -> str:
    return _unescape(field).decode("utf-8", "backslashreplace")
