"""Why execve(2) refuses a file, told by its first bytes."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.host.executable import HEAD, command_of, interpreter_of, is_linked, why_not_executed

MACHINE = platform.machine()


def elf(machine: int = 62, interpreter: bytes = b"", loaded: int = 0, order: str = "<") -> bytes:
    """A program of 64 bits with two segments: *loaded* bytes of the file, and the path of its interpreter."""
    head = b"\x7fELF" + bytes((2, 1 if order == "<" else 2, 1)) + bytes(9)
    count = 1 + int(bool(interpreter))
    head += struct.pack(f"{order}HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 1 << 40, 0, 64, 56, count, 64, 9, 0)
    table = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, loaded, loaded, 4096)
    table += struct.pack("<IIQQQQQQ", 3, 4, 176, 0, 0, len(interpreter) + 1, 0, 1)
    return (head + table + interpreter + b"\0").ljust(HEAD, b"\0")


@pytest.mark.parametrize(
    ("head", "size", "words"),
    [
        (elf(), HEAD, ""),
        (elf(3), HEAD, ""),
        (elf(183), HEAD, "another architecture"),
        (elf(22, order=">"), HEAD, "another architecture"),
        (elf(loaded=HEAD), HEAD, ""),
        (elf(loaded=HEAD + 1), HEAD, "truncated"),
        (elf()[:40], 40, "truncated"),
        (elf(interpreter=b"/lib/there"), HEAD, ""),
        (elf(interpreter=b"/lib/gone"), HEAD, "/lib/gone"),
        (b"", 0, "empty"),
        (b"#!/lib/there -e\n", 16, ""),
        (b"#! /lib/gone\n", 16, "/lib/gone"),
        (b"#!\n", 3, "names no interpreter"),
        (b"#! \t\n/lib/there\n", 16, "names no interpreter"),
        (b"#!/lib/there\r\n", 16, "/lib/there"),
        (b"#!/lib/there\t-e\r\n", 16, ""),
        (b"echo\n", 5, "neither"),
    ],
)
def test_what_the_first_bytes_tell(head: bytes, size: int, words: str) -> None:
    """A good program has no reason, and each defect names itself."""
    found = why_not_executed(head, size, "x86_64", lambda path: path == "/lib/there")
    assert words in found
    assert bool(found) == bool(words)


@pytest.mark.parametrize(
    ("path", "size", "words"),
    [(b"/lib/there\0and-more", 0, ""), (b"/lib/gone\0/there", 0, "/lib/gone,"), (b"/lib/there", HEAD - 181, "")],
)
def test_the_path_of_an_interpreter(path: bytes, size: int, words: str) -> None:
    """It ends at its first NUL; of one that lies beyond the bytes at hand nothing is said."""
    head = elf(interpreter=path)
    if size:  # moved: its first half is the end of what was read
        table = struct.pack("<IIQQQQQQ", 3, 4, HEAD - 5, 0, 0, len(path) + 1, 0, 1)
        head = head[:120] + table + bytes(HEAD - 181) + path[:5]
    found = why_not_executed(head[:HEAD], 2 * HEAD, "x86_64", lambda path: path == "/lib/there")
    assert words in found
    assert bool(found) == bool(words)


@pytest.mark.parametrize(
    ("head", "linked"),
    [
        (elf(interpreter=b"/lib/there"), True),
        (elf(), False),
        (elf(interpreter=b"/lib/there", order=">"), False),
        (b"#!/bin/sh\n", False),
        (b"", False),
    ],
)
def test_a_dynamic_linker(head: bytes, linked: bool) -> None:
    """A static program names none, and a script is none."""
    assert is_linked(head) is linked


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"#!/usr/bin/env python3\n", "python3"),
        (b"#! /bin/env \t bash \n", "bash"),
        (b"#!/usr/bin/env -S python3 -u\n", "python3"),
        (b"#!/usr/bin/env -Spython3 -u\n", "python3"),
        (b"#!/usr/bin/env python3 -u\n", "python3 -u"),
        (b"#!/usr/bin/env python3\r\n", ""),
        (b"#!/usr/bin/env -i python3\n", ""),
        (b"#!/usr/bin/env -S -i python3\n", ""),
        (b"#!/usr/bin/env -S A=1 python3\n", ""),
        (b"#!/usr/bin/env -S 'python 3'\n", ""),
        (b"#!/usr/bin/env /opt/python\n", ""),
        (b"#!/usr/bin/env\n", ""),
        (b"#!/usr/bin/env -S\n", ""),
        (b"#!/bin/sh python3\n", ""),
        (b"\x7fELF", ""),
    ],
)
def test_the_program_of_env(line: bytes, command: str) -> None:
    """The kernel passes one word; where env(1) does more than to look for a program, nothing is said."""
    assert command_of(line) == command


def test_an_unknown_machine_is_no_defect() -> None:
    """Of architectures that were never tried, no program is called foreign."""
    assert why_not_executed(elf(243), HEAD, "riscv64", lambda _: True) == ""


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(content: bytes, as_elf: bool) -> None:
    """What is no program leads to a reason, and never to an error."""
    head = b"\x7fELF" + content if as_elf else content
    assert isinstance(why_not_executed(head, len(head), MACHINE, lambda _: False), str)


@pytest.mark.parametrize("keep", [None, 0, 40, 2000])
def test_the_kernel_agrees(tmp_path: Path, keep: int | None) -> None:
    """A real program runs whole, and not when it is cut off."""
    content = Path(os.path.realpath(sys.executable)).read_bytes()[:keep]
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    try:
        ran = subprocess.run([program, "-c", ""], check=False, capture_output=True).returncode == 0
    except OSError:
        ran = False
    assert (why_not_executed(content[:HEAD], len(content), MACHINE, os.path.exists) == "") == ran


@pytest.mark.parametrize(
    ("head", "path"),
    [
        (elf(interpreter=b"/lib/ld.so"), "/lib/ld.so"),
        (elf(), ""),
        (elf(interpreter=b"ld.so"), ""),
        (elf(interpreter=b"/lib/\xff"), ""),
        (b"#! /bin/sh -e\n", "/bin/sh"),
        (b"#!sh\n", ""),
        (b"#!\n", ""),
        (b"", ""),
        (b"echo\n", ""),
    ],
)
def test_the_file_that_starts_a_program(head: bytes, path: str) -> None:
    """By its absolute path; a relative one depends on where the program is started."""
    assert interpreter_of(head) == path
