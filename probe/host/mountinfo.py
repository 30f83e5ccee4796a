"""Parser of mountinfo. Pure: it touches no mounted file system."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")

_DIGITS = 10
_DEVICE = re.compile(r"[0-9]{1,10}:[0-9]{1,10}")
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


@lru_cache(maxsize=1)
def parse_mountinfo(content: bytes) -> tuple[Mount, ...]:
    """Mounts in the order of the file; ValueError names the malformed line. The table of the last call is kept.

    Mount points and roots keep undecodable bytes as surrogates, for system calls; other fields are printable.
    *Source*: proc_pid_mountinfo(5).
    """
    *lines, half = content.split(b"\n")
    if half or not lines:
        raise ValueError(f"line {len(lines) + 1} is cut off")
    parents, devices, roots, rests = _Decoded(_number), _Decoded(_device), _Decoded(_path), _Decoded(_rest_decoder())
    mounts = []
    for line in lines:
        try:
            # Only space, tab, newline and backslash are escaped: a mount point may contain any other byte.
            number, parent, device, root, point, rest = line.decode(_ENCODING, _ERRORS).split(" ", 5)
            mounts.append(
                Mount(_number(number), parents[parent], devices[device], roots[root], _path(point), *rests[rest])
            )
        except ValueError:
            shown = line[:80].decode("utf-8", "backslashreplace")
            raise ValueError(f"line {len(mounts) + 1} is not a mount: {shown!r}") from None
    return tuple(mounts)


class _Decoded(dict[str, T]):
    """Field of a line -> its value. Equal fields of many lines are decoded once, and share one value."""

    def __init__(self, decode: Callable[[str], T]) -> None:
        self._decode = decode

    def __missing__(self, field: str) -> T:
        value = self[field] = self._decode(field)
        return value


def _rest_decoder() -> Callable[[str], _Rest]:
    """Decoder of all that follows the mount point: options, optional fields until the first lone dash, file system."""
    lists, filesystems = _Decoded(_options), _Decoded(_filesystem)

    def decode(rest: str) -> _Rest:
        attributes, _, filesystem = rest.partition(" - ")
        first, *propagation = attributes.split(" ")  # of which each mount may have its own: the number of a peer group
        if not first or first == "-" or not all(propagation):
            raise ValueError
        options, (fstype, source, superblock) = lists[first], filesystems[filesystem]
        read_only = "ro" in options or ",ro," in f",{superblock},"
        return options, tuple(map(_text, propagation)), fstype, source, superblock, read_only

    return decode


def _options(field: str) -> tuple[str, ...]:
    return tuple(_text(field).split(","))


def _filesystem(field: str) -> tuple[str, str, str]:
    fstype, source, *super_options = field.split(" ", 2)  # the source may be empty; nothing ends the options
    if not fstype:
        raise ValueError
    return _text(fstype), _text(source), _text("".join(super_options))


def _number(field: str) -> int:
    if not (field.isascii() and field.isdigit()) or len(field) > _DIGITS:
        raise ValueError
    return int(field)


def _device(field: str) -> str:
    if not _DEVICE.fullmatch(field):
        raise ValueError
    return field


def _path(field: str) -> str:
    if not field or field == "-":  # the dash ends the optional fields, which come later
        raise ValueError
    return _unescape(field) if "\\" in field else field


def _text(field: str) -> str:
    return printable(_unescape(field) if "\\" in field else field)


def _unescape(field: str) -> str:
    return os.fsdecode(_OCTAL.sub(lambda found: bytes((int(found[1], 8),)), os.fsencode(field)))
