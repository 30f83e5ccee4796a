"""Shared libraries that ld.so(8) loads to start a program, looked for as it does, without running anything.

Only a certain failure is told: where one place more than the real order of the search may have the library, it counts
as found, and of files that cannot be read nothing is said.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from probe.host.environ import OWN_OF_CONTAINERD
from probe.host.files import open_path

_CACHE = "/etc/ld.so.cache"
_CACHE_LIMIT = 8 << 20
_MAGIC = b"glibc-ld.so.cache1.1"
_GLIBC = re.compile(r"ld-(linux[\w.-]*\.so\.\d|2\.\d+\.so)", re.ASCII)
_MUSL = re.compile(r"ld-musl-[\w.-]+\.so\.1", re.ASCII)
_USUAL = re.compile(r"(?:/usr)?/lib(?:32|64|x32)?(?:/[\w.-]+)?", re.ASCII)
"""Directories of the dynamic linker in distributions that look for libraries where ld.so(8) says."""
_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_MUSL_FOLDERS = ("/lib", "/usr/local/lib", "/usr/lib")
_OF_MUSL = re.compile(r"lib(c|pthread|rt|m|dl|util|xnet)\.")
"""Libraries that are a part of musl's dynamic linker. *Source*: musl, ldso/dynlink.c, `load_library`."""
_LIBRARIES, _STRINGS_LIMIT, _TABLE_LIMIT = 64, 1 << 20, 1 << 16

_PT_LOAD, _PT_DYNAMIC = 1, 2
_NEEDED, _STRTAB, _STRSZ, _RPATH, _RUNPATH = 1, 5, 10, 15, 29
_VERDEF, _VERNEED, _VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFE, 0x6FFFFFFF
_VER_FLG_WEAK = 2


class Linked(NamedTuple):
    """Outcome of the search for all libraries of a program."""

    missing: str
    """`libseccomp.so.2, which does not exist`; empty when all are there, or when that is not known."""
    found: tuple[str, ...]
    """Paths of the libraries, as the program finds them."""


class Unclear(Exception):
    """Nothing certain can be said of the libraries."""


class _Object(NamedTuple):
    """A program or library, as elf(5) describes it."""

    needed: tuple[str, ...]
    folders: tuple[str, ...]
    """DT_RPATH and DT_RUNPATH."""
    versions: tuple[tuple[str, str], ...]
    """Library and version of its symbols, `libc.so.6` and `GLIBC_2.34`, without which ld.so(8) starts nothing."""
    has_versions: bool
    strings: bytes


_NOTHING = _Object((), (), (), False, b"")


class Libraries:
    """Libraries below the root directory *root* for programs with that environment."""

    def __init__(self, root: str, environment: Mapping[str, str]) -> None:
        self._root = root
        given = filter(None, re.split("[:;]", environment.get("LD_LIBRARY_PATH", "")))
        self._given = (*given, f"{OWN_OF_CONTAINERD}/lib")
        self._cache: dict[str, list[str]] | None = None

    def look(self, program: str, path: str, interpreter: str) -> Linked:
        """What the linked *program*, a file that can be opened, lacks; *path* is its own without symlinks."""
        try:
            return self._search(program, path, interpreter)
        except (OSError, OverflowError, Unclear, ValueError, struct.error):
            return Linked("", ())

    def _search(self, program: str, path: str, interpreter: str) -> Linked:
        linker = self._real(interpreter)
        folder, name = os.path.split(linker)
        musl = bool(_MUSL.fullmatch(os.path.basename(interpreter)))
        if not _USUAL.fullmatch(folder) or not (musl or _GLIBC.fullmatch(name)):
            raise Unclear
        usual = _MUSL_FOLDERS if musl else (folder, *_of_architecture(folder), os.path.dirname(interpreter), *_FOLDERS)
        if musl and self._exists(f"/etc/{os.path.basename(interpreter).removesuffix('.so.1')}.path"):
            raise Unclear
        found: dict[str, tuple[str, _Object]] = {}
        folders, pending = set(self._given), [_read_once(program, os.path.dirname(path)) or _NOTHING]
        while pending:
            one = pending.pop(0)
            folders |= set(one.folders)
            if any(not each.startswith("/") or "$" in each for each in folders):
                raise Unclear
            for library in one.needed:
                if library in found or (musl and _OF_MUSL.match(library)) or _is_linker(library):
                    continue
                where, read = self._library(library, [*folders, *usual])
                if read is None and not musl:  # the cache last, as it takes the longest to read
                    where, read = self._library(library, [*folders, *usual, *self._cached(library)])
                if read is None:
                    return Linked(f"{_plain(library)}, which {where}", tuple(each for each, _ in found.values()))
                found[library] = (where, read)
                pending.append(read)
                if len(found) > _LIBRARIES:
                    raise Unclear
            for library, version in () if musl else one.versions:
                of = found.get(library)
                if of and of[1].has_versions and f"\0{version}\0".encode() not in of[1].strings:
                    return Linked(f"{_plain(version)} of {_plain(library)}, which has no such version", ())
        return Linked("", tuple(each for each, _ in found.values()))

    def _library(self, name: str, places: list[str]) -> tuple[str, _Object | None]:
        """Path and content of the library, or the reason why there is none."""
        why = "ld.so(8) does not find"
        for place in dict.fromkeys([name] if "/" in name else places):
            path = place if place.endswith(f"/{name}") or "/" in name else f"{place}/{name}"
            try:
                handle = open_path(f"{self._root}{path}")
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                if os.fstatvfs(handle).f_flag & os.ST_NOEXEC:
                    why = "lies on a mount with noexec"
                    continue
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    why = "is no file"
                    continue
                own = f"/proc/self/fd/{handle}"
                real = os.readlink(own).removeprefix(self._root)
                if read := _read_once(own, os.path.dirname(real)):
                    return path, read
                why = "is no library"
            finally:
                os.close(handle)
        return why, None

    def _cached(self, name: str) -> list[str]:
        if self._cache is None:
            self._cache = {}
            try:
                content = _content(f"{self._root}{_CACHE}")
            except FileNotFoundError:
                content = b""
            for library, path in parse_cache(content) if content else ():
                self._cache.setdefault(library, []).append(path)
        return self._cache.get(name, [])

    def _real(self, path: str) -> str:
        handle = open_path(f"{self._root}{path}")
        try:
            return os.readlink(f"/proc/self/fd/{handle}").removeprefix(self._root)
        finally:
            os.close(handle)

    def _exists(self, path: str) -> bool:
        try:
            os.close(open_path(f"{self._root}{path}"))
        except FileNotFoundError:
            return False
        return True


def parse_cache(content: bytes) -> Iterator[tuple[str, str]]:
    """Name and path of each library. *Source*: glibc, sysdeps/generic/dl-cache.h.

    *Errors*: Unclear for another format than that of glibc since 2.2.
    """
    start = content.find(_MAGIC)
    if start < 0 or len(content) < start + 48:
        raise Unclear
    (count,) = struct.unpack_from("<I", content, start + 20)
    for number in range(count):
        _, key, value = struct.unpack_from("<iII", content, start + 48 + 24 * number)
        yield _string(content, start + key), _string(content, start + value)


def _content(path: str) -> bytes:
    handle = open_path(path)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Unclear
        with open(f"/proc/self/fd/{handle}", "rb", buffering=0) as file:
            content = file.read(_CACHE_LIMIT + 1) or b""
    finally:
        os.close(handle)
    if len(content) > _CACHE_LIMIT:
        raise Unclear
    return content


def _string(content: bytes, start: int) -> str:
    end = content.find(b"\0", start)
    if end < 0:
        raise Unclear
    return os.fsdecode(content[start:end])


def _plain(name: str) -> str:
    return ascii(name[:100])[1:-1]


def _is_linker(name: str) -> bool:
    return name.startswith("ld-")


def _of_architecture(folder: str) -> tuple[str, ...]:
    """The folders of Debian's multiarch: those of the dynamic linker's own architecture."""
    triplet = os.path.basename(folder) if os.path.basename(folder).count("-") else f"{os.uname().machine}-linux-gnu"
    return f"/lib/{triplet}", f"/usr/lib/{triplet}"


def _read_once(path: str, origin: str) -> _Object | None:
    """The dynamic section of the file; None where it is no library. One that has not changed is read only once."""
    seen = os.stat(path)
    key = (origin, seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size)
    if key not in _read_before:
        if len(_read_before) > _LIBRARIES:
            _read_before.clear()
        _read_before[key] = _read(path, origin) if _is_whole(path) else None
    return _read_before[key]


_read_before: dict[tuple[str, int, int, int, int, int], _Object | None] = {}


def _is_whole(path: str) -> bool:
    """Whether the file begins as a library of 64 bits does, and is as long as its segments."""
    with open(path, "rb", buffering=0) as file:
        head = file.read(4096) or b""
        size = os.fstat(file.fileno()).st_size
    if head[:6] != b"\x7fELF\2\1" or len(head) < 64:
        return False
    return all(offset + length <= size for kind, offset, _, length in _segments(head) if kind == _PT_LOAD)


def _segments(head: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Type, offset, address, length in the file of each segment. *Errors*: struct.error beyond the bytes at hand."""
    table, (entry, count) = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<HH", head, 54)
    for number in range(min(count, 64)):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", head, table + entry * number)
        yield kind, offset, address, length


def _read(path: str, origin: str) -> _Object:
    """The dynamic section of a program or library in the folder *origin*."""
    with open(path, "rb", buffering=0) as file:
        fd = file.fileno()
        segments = list(_segments(os.pread(fd, 4096, 0)))
        dynamic = next((each for each in segments if each[0] == _PT_DYNAMIC), None)
        if dynamic is None:
            return _NOTHING
        table = os.pread(fd, min(dynamic[3], _TABLE_LIMIT), dynamic[1])
        tags = list(struct.iter_unpack("<QQ", table[: len(table) // 16 * 16]))
        ends = next((number for number, (tag, _) in enumerate(tags) if tag == 0), len(tags))
        tags, last = tags[:ends], dict(tags[:ends])

        def at(address: int) -> int:
            inside = (each for each in segments if each[0] == _PT_LOAD and each[2] <= address < each[2] + each[3])
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
        for part in _string(strings, value).split(":")
        if part
    ]
    return _Object(
        needed=tuple(_string(strings, value) for tag, value in tags if tag == _NEEDED),
        folders=tuple(folders),
        versions=tuple(_versions(needs, strings, last.get(_VERNEEDNUM, 0))) if needs else (),
        has_versions=_VERDEF in last,
        strings=strings,
    )


def _versions(table: bytes, strings: bytes, count: int) -> Iterator[tuple[str, str]]:
    """Library and version of each that has to be there. *Source*: elf(5), Elf64_Verneed and Elf64_Vernaux."""
    start = 0
    for _ in range(min(count, _LIBRARIES)):
        _, versions, file, first, following = struct.unpack_from("<HHIII", table, start)
        each = start + first
        for _ in range(versions):
            _, flags, _, name, more = struct.unpack_from("<IHHII", table, each)
            if not flags & _VER_FLG_WEAK:
                yield _string(strings, file), _string(strings, name)
            if not more:
                break
            each += more
        start += following
