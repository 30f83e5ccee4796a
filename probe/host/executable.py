"""Reasons why execve(2) refuses a file that its mode lets everyone execute."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator

from probe.host.syscalls import native

HEAD = 4096
"""Bytes of a file in which its headers and the path of its interpreter lie."""

_ELF = b"\x7fELF"
_ELF64_LITTLE = b"\2\1"
_MACHINES = {"x86_64": (62, 3), "aarch64": (183, 40)}
"""`e_machine` of each architecture, and of the 32-bit one that its kernels may run, too. *Source*: linux/elf-em.h."""
_PT_LOAD, _PT_INTERP = 1, 3
_HEADERS_LIMIT = 64


def why_not_executed(head: bytes, size: int, machine: str, exists: Callable[[str], bool]) -> str:
    """The reason that a program with these first bytes cannot run on *machine*; empty if they show none.

    *exists* says whether an interpreter is there. *Source*: execve(2), ENOEXEC and ENOENT; elf(5).
    """
    if not head:
        return "is empty"
    if head.startswith(b"#!"):
        interpreter = _script_interpreter(head)
        return _missing(interpreter, exists) if interpreter else "names no interpreter behind #!"
    if not head.startswith(_ELF):
        return "is neither a program nor a script with #!"
    if len(head) < 64:
        return "is truncated"
    order = "<" if head[5] == 1 else ">"
    machines = _MACHINES.get(native(machine, 8))
    if machines and (order == ">" or struct.unpack_from("<H", head, 18)[0] not in machines):
        return "is a program of another architecture"
    if order == ">" or head[4] != 2:
        return ""
    if any(kind == _PT_LOAD and offset + length > size for kind, offset, length in _program_headers(head)):
        return "is truncated"
    return _missing(_linker(head), exists)


def interpreter_of(head: bytes) -> str:
    """The file that execve(2) opens to start this program: of `#!`, or its dynamic linker, ld.so(8).

    Empty without one, and for a relative path.
    """
    name = _script_interpreter(head) if head.startswith(b"#!") else _linker(head) if is_linked(head) else b""
    try:
        path = name.partition(b"\0")[0].decode()
    except UnicodeDecodeError:
        return ""
    return path if path.startswith("/") else ""


def is_linked(head: bytes) -> bool:
    """True when a 64-bit, little-endian program names a dynamic linker; False for anything else."""
    if not head.startswith(_ELF) or len(head) < 64 or head[4:6] != _ELF64_LITTLE:
        return False
    return any(kind == _PT_INTERP for kind, _, _ in _program_headers(head))


def _missing(interpreter: bytes, exists: Callable[[str], bool]) -> str:
    path = os.fsdecode(interpreter.partition(b"\0")[0])
    if not path.startswith("/") or exists(path):
        return ""
    return f"needs {ascii(path[:100])[1:-1]}, which is not there"


def _script_interpreter(head: bytes) -> bytes:
    """The first word behind `#!`; only a space, a tab or a zero byte ends it, so `\\r` of Windows is a part of it."""
    line = head[2:].partition(b"\n")[0].lstrip(b" \t")
    return re.split(rb"[ \t\0]", line, maxsplit=1)[0]


def _linker(head: bytes) -> bytes:
    found = (
        head[offset : offset + length]
        for kind, offset, length in _program_headers(head)
        if kind == _PT_INTERP and offset + length <= len(head)  # patchelf(1) may have moved it further back
    )
    return next(found, b"")


def _program_headers(head: bytes) -> Iterator[tuple[int, int, int]]:
    """Type, offset and length in the file of each segment of a 64-bit, little-endian program."""
    table, (entry, count) = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<HH", head, 54)
    for number in range(min(count, _HEADERS_LIMIT)):
        start = table + entry * number
        if start + 56 > len(head):
            return
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", head, start)
        yield kind, offset, length
