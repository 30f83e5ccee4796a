"""Sections of a unified kernel image, a PE program that holds a kernel, its command line and its release."""

from __future__ import annotations

import json
import os
import stat
import struct

from probe.host.files import open_path

TEXTS = (".cmdline", ".osrel", ".uname")
"""Sections with text. *Source*: systemd-stub(7)."""
PROFILE = ".profile"
"""Section that begins another set of sections for the same kernel; its presence alone is told."""
_HEAD = 1 << 16
_LIMIT = 1 << 16  # of a section
_SECTION = 40


def read_sections(path: str) -> bytes:
    """Texts of a PE program by the name of their section, as JSON; of two of one name the first.

    *Errors*: OSError; ValueError for another type of file, a file that is not a PE program or that is cut off.
    """
    handle = open_path(path)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is not a regular file")
        file = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(handle)
    try:
        found: dict[str, str] = {}
        for name, offset, size in parse_sections(os.pread(file, _HEAD, 0)):
            if name == PROFILE:
                found.setdefault(name, "")
            elif name in TEXTS and name not in found:
                found[name] = _text(os.pread(file, min(size, _LIMIT), offset), size)
        return json.dumps(found).encode()
    finally:
        os.close(file)


def parse_sections(head: bytes) -> list[tuple[str, int, int]]:
    """Name, offset and length in the file of each section. *Errors*: ValueError. *Source*: Microsoft, PE format."""
    try:
        start = struct.unpack_from("<I", head, 0x3C)[0]
        count, optional = struct.unpack_from("<H12xH", head, start + 6)
        if head[:2] != b"MZ" or head[start : start + 4] != b"PE\0\0":
            raise ValueError("is not a PE program")
        first = start + 24 + optional
        found = [struct.unpack_from("<8sI4xII", head, first + _SECTION * number) for number in range(count)]
    except struct.error:
        raise ValueError("is not a PE program, or is cut off") from None
    return [(name.rstrip(b"\0").decode("latin-1"), at, min(size or raw, raw)) for name, size, raw, at in found]


def _text(content: bytes, size: int) -> str:
    if len(content) < size:
        raise ValueError("is cut off" if size <= _LIMIT else f"has a text of more than {_LIMIT} bytes")
    return content.decode("utf-8", "replace").strip("\0 \n")
