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

from msgspec import Struct

from probe.host.elf import STATIC, Dynamic, Unclear, read_dynamic, string_at
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
_LIBRARIES = 64


class Linked(Struct, frozen=True):
    """Outcome of the search for all libraries of a program."""

    missing: str
    """`libseccomp.so.2, which does not exist`; empty when all are there, or when that is not known."""
    found: tuple[str, ...]
    """Paths of the libraries, as the program finds them."""


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
        found: dict[str, tuple[str, Dynamic]] = {}
        folders, pending = set(self._given), [read_dynamic(program, os.path.dirname(path)) or STATIC]
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
                # Searched from the end, where linkers put the versions behind thousands of names.
                if of and of[1].has_versions and of[1].strings.rfind(f"\0{version}\0".encode()) < 0:
                    return Linked(f"{_plain(version)} of {_plain(library)}, which has no such version", ())
        return Linked("", tuple(each for each, _ in found.values()))

    def _library(self, name: str, places: list[str]) -> tuple[str, Dynamic | None]:
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
                    why = "is not a file"
                    continue
                own = f"/proc/self/fd/{handle}"
                real = os.readlink(own).removeprefix(self._root)
                if read := read_dynamic(own, os.path.dirname(real)):
                    return path, read
                why = "is not a library"
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
        yield string_at(content, start + key), string_at(content, start + value)


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


def _plain(name: str) -> str:
    return ascii(name[:100])[1:-1]


def _is_linker(name: str) -> bool:
    return name.startswith("ld-")


def _of_architecture(folder: str) -> tuple[str, ...]:
    """The folders of Debian's multiarch: those of the dynamic linker's own architecture."""
    triplet = os.path.basename(folder) if os.path.basename(folder).count("-") else f"{os.uname().machine}-linux-gnu"
    return f"/lib/{triplet}", f"/usr/lib/{triplet}"
