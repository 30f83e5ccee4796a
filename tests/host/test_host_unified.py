"""Texts of unified kernel images: PE programs of any size, whole, cut off or hostile."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.host.host import LocalHost
from probe.host.unified import parse_sections, read_sections


def pe(sections: dict[str, bytes], start: int = 0x80, padding: int = 0) -> bytes:
    """A PE program with these sections and *padding* before the first."""
    header = struct.pack("<2s58xI", b"MZ", start).ljust(start, b"\0")
    header += struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(sections), 0, 0, 0, 0, 0)
    at = len(header) + 40 * len(sections) + padding
    table, body = b"", b"\0" * padding
    for name, content in sections.items():
        raw = content.ljust(len(content) + 10, b"\0")  # to the alignment
        table += struct.pack("<8sIIIIIIHHI", name.encode(), len(content), 0, len(raw), at, 0, 0, 0, 0, 0)
        body, at = body + raw, at + len(raw)
    return header + table + body


IMAGE = {".text": b"code", ".osrel": b"ID=debian\n", ".cmdline": b"quiet \0", ".uname": b"6.12.9\0"}


@pytest.fixture
def host() -> Iterator[LocalHost]:
    """This machine."""
    host = LocalHost()
    yield host
    host.close()


def test_texts_of_an_image(host: LocalHost, tmp_path: Path) -> None:
    """Behind much else, without the kernel itself; the first section of a name counts, and profiles are told."""
    file = tmp_path / "a.efi"
    file.write_bytes(pe(IMAGE | {".linux": b"x" * 100_000}, padding=3 << 20))
    reading = host.read_sections(str(file))
    assert reading.value == {".osrel": "ID=debian", ".cmdline": "quiet", ".uname": "6.12.9"}
    file.write_bytes(pe(IMAGE | {".profile": b"ID=a"}))
    assert ".profile" in json.loads(read_sections(str(file)))


@pytest.mark.parametrize(
    "content",
    [b"", b"MZ", b"\x7fELF" + b"\0" * 5000, pe(IMAGE)[:-15], pe({".cmdline": b"x" * 70_000}), pe(IMAGE, start=1 << 20)],
)
def test_what_is_no_image_is_a_problem(host: LocalHost, tmp_path: Path, content: bytes) -> None:
    """Nothing of it is used, and nothing waits."""
    file = tmp_path / "a.efi"
    file.write_bytes(content)
    assert host.read_sections(str(file)).kind == "not-readable"


def test_no_text_is_read_beyond_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section may name gigabytes of a sparse file: os.pread(3) would reserve them first."""
    file = tmp_path / "a.efi"
    content = bytearray(pe({".cmdline": b"x"}))
    struct.pack_into("<II", content, 0x80 + 24 + 8, 0xF0000000, 0)
    struct.pack_into("<I", content, 0x80 + 24 + 16, 0xF0000000)
    file.write_bytes(content)
    asked: list[int] = []
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        asked.append(size)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    with pytest.raises(ValueError, match="more than"):
        read_sections(str(file))
    assert len(asked) == 2
    assert max(asked) <= 1 << 16


def test_what_is_no_file_is_a_problem(host: LocalHost, tmp_path: Path) -> None:
    """A FIFO is not opened."""
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        assert host.read_sections(f"{tmp_path}/{name}").kind == "not-readable"
    assert host.read_sections(f"{tmp_path}/gone").kind == "absent"


@given(st.binary(max_size=400))
def test_no_content_breaks_it(content: bytes) -> None:
    """Any header is parsed, or is a ValueError."""
    for head in (content, pe(IMAGE)[:0x80] + content):
        with contextlib.suppress(ValueError):
            parse_sections(head)
