"""Program headers and dynamic section of programs and shared libraries. *Source*: elf(5)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from msgspec import Struct

ELF = b"\x7fELF"
_ELF64_LITTLE = b"\2\1"
PT_LOAD, _PT_DYNAMIC = 1, 2
_HEADERS_LIMIT = 64
_NEEDED, _STRTAB, _STRSZ, _RPATH, _RUNPATH = 1, 5, 10, 15, 29
_VERDEF, _VERNEED, _VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFE, 0x6FFFFFFF
_VER_FLG_WEAK = 2
_STRINGS_LIMIT, _TABLE_LIMIT = 1 << 20, 1 << 16
_LIMIT = 64
"""Libraries of which a program needs symbols in certain versions, and files that are remembered."""


class Unclear(Exception):
    """Nothing certain can be said of a file or of the libraries of a program."""


class Dynamic(Struct, frozen=True):
    """What the dynamic section of a program or library asks ld.so(8) for."""

    needed: tuple[str, ...]
    folders: tuple[str, ...]
    """DT_RPATH and DT_RUNPATH."""
    versions: tuple[tuple[str, str], ...]
    """Library and version of its symbols, `libc.so.6` and `GLIBC_2.34`, without which ld.so(8) starts nothing."""
    has_versions: bool
    strings: bytes
    """The string table, with the versions that a library has."""


def is_elf64(head: bytes) -> bool:
    """True when a file begins as a 64-bit, little-endian program or library does."""
    return head.startswith(ELF + _ELF64_LITTLE) and len(head) >= 64


def program_headers(head: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Type, offset, address and length in the file of each segment of such a program, as far as *head* has them."""
    table, (entry, count) = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<HH", head, 54)
    for number in range(min(count, _HEADERS_LIMIT)):
        start = table + entry * number
        if start + 56 > len(head):
            return
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", head, start)
        yield kind, offset, address, length


STATIC = Dynamic((), (), (), False, b"")


def read_dynamic(path: str, origin: str) -> Dynamic | None:
    """The dynamic section of the file; None where it is no library. A file that has not changed is read only once.

    *origin*: the folder that `$ORIGIN` stands for. *Errors*: OSError, struct.error, Unclear.
    """
    seen = os.stat(path)
    key = (origin, seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size)
    if key not in _read_before:
        if len(_read_before) > _LIMIT:
            _read_before.clear()
        _read_before[key] = _read(path, origin) if _is_whole(path) else None
    return _read_before[key]


_read_before: dict[tuple[str, int, int, int, int, int], Dynamic | None] = {}


def _is_whole(path: str) -> bool:
    """Whether the file begins as a library of 64 bits does, and is as long as its segments."""
    with open(path, "rb", buffering=0) as file:
        head = file.read(4096) or b""
        size = os.fstat(file.fileno()).st_size
    if not is_elf64(head):
        return False
    return all(offset + length <= size for kind, offset, _, length in _segments(head) if kind == PT_LOAD)


def _segments(head: bytes) -> list[tuple[int, int, int, int]]:
    """All program headers. *Errors*: Unclear where one lies beyond the bytes at hand."""
    found = list(program_headers(head))
    if len(found) < min(struct.unpack_from("<H", head, 56)[0], _HEADERS_LIMIT):
        raise Unclear
    return found


def _read(path: str, origin: str) -> Dynamic:
    """The dynamic section of a program or library in the folder *origin*."""
    with open(path, "rb", buffering=0) as file:
        fd = file.fileno()
        segments = _segments(os.pread(fd, 4096, 0))
        dynamic = next((each for each in segments if each[0] == _PT_DYNAMIC), None)
        if dynamic is None:
            return STATIC
        table = os.pread(fd, min(dynamic[3], _TABLE_LIMIT), dynamic[1])
        tags = list(struct.iter_unpack("<QQ", table[: len(table) // 16 * 16]))
        ends = next((number for number, (tag, _) in enumerate(tags) if tag == 0), len(tags))
        tags, last = tags[:ends], dict(tags[:ends])

        def at(address: int) -> int:
            inside = (each for each in segments if each[0] == PT_LOAD and each[2] <= address < each[2] + each[3])
            found = next(inside, None)
            if found is None:
                raise Unclear
            return address - found[2] + found[1]

        if _STRTAB not in last or not 0 < last.get(_STRSZ, 0) <= _STRINGS_LIMIT:
            raise Unclear
        strings = os.pread(fd, last[_STRSZ], at(last[_STRTAB]))
        needs = os.pread(fd, _TABLE_LIMIT, at(last[_VERNEED])) if _VERNEED in last else b""
    folders = [
        part.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
        for tag, value in tags
        if tag in (_RPATH, _RUNPATH)
        for part in string_at(strings, value).split(":")
        if part
    ]
    return Dynamic(
        needed=tuple(string_at(strings, value) for tag, value in tags if tag == _NEEDED),
        folders=tuple(folders),
        versions=tuple(_versions(needs, strings, last.get(_VERNEEDNUM, 0))) if needs else (),
        has_versions=_VERDEF in last,
        strings=strings,
    )


def _versions(table: bytes, strings: bytes, count: int) -> Iterator[tuple[str, str]]:
    """Library and version of each that has to be there. *Source*: elf(5), Elf64_Verneed and Elf64_Vernaux."""
    start = 0
    for _ in range(min(count, _LIMIT)):
        _, versions, file, first, following = struct.unpack_from("<HHIII", table, start)
        each = start + first
        for _ in range(versions):
            _, flags, _, name, more = struct.unpack_from("<IHHII", table, each)
            if not flags & _VER_FLG_WEAK:
                yield string_at(strings, file), string_at(strings, name)
            if not more:
                break
            each += more
        start += following


def string_at(content: bytes, start: int) -> str:
    """Text up to the next NUL. *Errors*: Unclear where none follows."""
    end = content.find(b"\0", start)
    if end < 0:
        raise Unclear
    return os.fsdecode(content[start:end])
