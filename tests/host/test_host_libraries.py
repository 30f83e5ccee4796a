"""The shared libraries of a program, on copies of one of this machine's own."""

from __future__ import annotations

import os
import shutil
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.prerequisites import require
from probe.host.elf import Unclear
from probe.host.executable import HEAD, interpreter_of, is_linked
from probe.host.libraries import Libraries, Linked, parse_cache

PROGRAM = os.path.realpath("/bin/true")
WHOLE = Path(PROGRAM).read_bytes()
LIBC = "libc.so.6"


class Tree:
    """A root directory with the program, its dynamic linker and its libraries, each in the folder of this machine."""

    def __init__(self, root: Path) -> None:
        require(is_linked(WHOLE[:HEAD]), "a /bin/true that a dynamic linker starts")
        self.root, self.interpreter = str(root), interpreter_of(WHOLE[:HEAD])
        self.libraries = Libraries("", {}).look(PROGRAM, PROGRAM, self.interpreter).found
        require(any(path.endswith(f"/{LIBC}") for path in self.libraries), "a libc of GNU")
        for path in (PROGRAM, self.interpreter, *self.libraries):
            os.makedirs(os.path.dirname(f"{root}{path}"), exist_ok=True)
            shutil.copy(path, f"{root}{path}")
        self.libc = root / next(path for path in self.libraries if path.endswith(f"/{LIBC}"))[1:]
        self.program = root / PROGRAM[1:]

    def look(self, **environment: str) -> Linked:
        """What this program lacks below this root."""
        return Libraries(self.root, environment).look(str(self.program), PROGRAM, self.interpreter)

    def move_libc(self) -> str:
        """The folder into which libc is moved, where nobody looks."""
        (Path(self.root) / "srv").mkdir()
        self.libc.rename(Path(self.root) / "srv" / LIBC)
        return "/srv"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def cache(*entries: tuple[str, str]) -> bytes:
    """A file like that of ldconfig(8), behind one of the old format."""
    strings, table = b"", b""
    start = 48 + 24 * len(entries)
    for entry in entries:
        places = []
        for text in entry:
            places.append(start + len(strings))
            strings += text.encode() + b"\0"
        table += struct.pack("<iIIIQ", 0x303, *places, 0, 0)
    head = b"glibc-ld.so.cache1.1" + struct.pack("<II", len(entries), len(strings)) + bytes(20)
    return b"ld.so-1.7.0\0" + bytes(4) + head + table + strings


def test_a_program_with_all_its_libraries(tree: Tree) -> None:
    """It lacks nothing, and its libraries are told; those of real programs of this machine are there, too."""
    assert tree.look() == Linked("", tree.libraries)
    for name in ("/bin/sh", "/usr/bin/env", "/usr/sbin/runc", "/usr/bin/crun"):
        if os.path.exists(name) and is_linked(head := Path(name).read_bytes()[:HEAD]):
            assert Libraries("", {}).look(name, os.path.realpath(name), interpreter_of(head)).missing == ""


def test_libraries_of_containerd(tree: Tree) -> None:
    """It adds the folder to the environment of what it starts, though /proc/PID/environ does not show it."""
    (Path(tree.root) / "opt/containerd").mkdir(parents=True)
    tree.move_libc()
    (Path(tree.root) / "srv").rename(Path(tree.root) / "opt/containerd/lib")
    assert tree.look().missing == ""


def test_a_library_that_nobody_finds(tree: Tree) -> None:
    """It is named; where LD_LIBRARY_PATH or the cache of ldconfig(8) leads to it, nothing is missing."""
    folder = tree.move_libc()
    assert tree.look().missing == f"{LIBC}, which ld.so(8) does not find"
    assert tree.look(LD_LIBRARY_PATH="/nowhere:/srv").missing == ""
    (Path(tree.root) / "etc").mkdir()
    (Path(tree.root) / "etc/ld.so.cache").write_bytes(cache(("libm.so.6", "/srv/no"), (LIBC, f"{folder}/{LIBC}")))
    assert tree.look().missing == ""


@pytest.mark.parametrize("how", ["unreadable cache", "relative", "nix"])
def test_of_an_unclear_search_nothing_is_said(tree: Tree, how: str) -> None:
    """A cache of another format, a relative folder, and a dynamic linker of a distribution with rules of its own."""
    tree.move_libc()
    if how == "unreadable cache":
        (Path(tree.root) / "etc").mkdir()
        (Path(tree.root) / "etc/ld.so.cache").write_bytes(b"something else")
    if how == "nix":
        shutil.copytree(os.path.dirname(f"{tree.root}{tree.interpreter}"), f"{tree.root}/nix/store/glibc/lib")
        tree.interpreter = f"/nix/store/glibc/lib/{os.path.basename(tree.interpreter)}"
    assert tree.look(**({"LD_LIBRARY_PATH": "lib"} if how == "relative" else {})) == Linked("", ())


@pytest.mark.parametrize("what", ["empty", "truncated", "text", "fifo", "link", "folder"])
def test_a_library_that_is_none(tree: Tree, what: str) -> None:
    """The dynamic linker refuses it, and nobody waits for what is no file."""
    content = tree.libc.read_bytes()
    tree.libc.unlink()
    match what:
        case "fifo":
            os.mkfifo(tree.libc)
        case "link":
            tree.libc.symlink_to("/nowhere")
        case "folder":
            tree.libc.mkdir()
        case _:
            tree.libc.write_bytes({"empty": b"", "truncated": content[:10_000], "text": b"INPUT(libc)\n" * 99}[what])
    assert tree.look().missing.startswith(f"{LIBC}, which")


def test_a_version_that_a_library_does_not_have(tree: Tree) -> None:
    """Programs of a newer distribution need symbols of a newer libc."""
    tree.program.write_bytes(WHOLE.replace(b"\0GLIBC_2.", b"\0GLIBC_9."))
    assert "which has no such version" in tree.look().missing
    assert tree.look().missing.startswith("GLIBC_9.")


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_damaged_programs(changes: list[tuple[int, int]]) -> None:
    """Whatever the bytes are, there is an answer."""
    content = bytearray(WHOLE)
    for place, byte in changes:
        content[place % 2048 if byte % 2 else place] = byte
    fd = os.memfd_create("program")
    try:
        os.write(fd, content)
        assert isinstance(Libraries("", {}).look(f"/proc/self/fd/{fd}", PROGRAM, interpreter_of(WHOLE[:HEAD])), Linked)
    finally:
        os.close(fd)


@given(st.binary(max_size=200))
def test_damaged_caches(content: bytes) -> None:
    """Something that is no cache is unclear."""
    for damaged in (content, cache((LIBC, "/srv"))[:-1] + content, b"glibc-ld.so.cache1.1" + content):
        with suppress(Unclear, struct.error):
            assert all(isinstance(name, str) for name, _ in parse_cache(damaged))
