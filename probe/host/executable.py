"""Outcome of execve(2) of a file that its mode lets everyone execute, foretold by what the file says."""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from probe.host.elf import ELF, PT_LOAD, is_elf64, program_headers
from probe.host.environ import OWN_OF_CONTAINERD, parse_environment, search_path
from probe.host.files import open_path
from probe.host.namespaces import import_own

if TYPE_CHECKING:
    from probe.host.libraries import Libraries

from probe.host.syscalls import native

NEEDS = "needs "
"""Begin of the defect of a program that needs another file."""
HEAD = 4096
"""Bytes of a file in which its headers and the path of its interpreter lie."""

_MACHINES = {"x86_64": (62, 3), "aarch64": (183, 40)}
"""`e_machine` of each architecture, and of the 32-bit one that its kernels may run, too. *Source*: linux/elf-em.h."""
_PT_INTERP = 3
_MAX_INTERPRETERS = 4
"""*Source*: Linux, fs/exec.c, exec_binprm, ELOOP."""
_BINFMT = "/proc/sys/fs/binfmt_misc"
"""Names of the handlers that run files of other formats. *Source*: binfmt-misc of the kernel's administration guide."""


class Caller:
    """The process with the root directory *root*, as far as it decides what its programs become."""

    def __init__(self, root: str) -> None:
        self.root = root

    @cached_property
    def environment(self) -> dict[str, str] | None:
        try:
            with open(f"{os.path.dirname(self.root)}/environ", "rb") as file:
                return parse_environment(file.read())
        except OSError:
            return None

    @cached_property
    def gains_nothing(self) -> bool:
        """Whether execve(2) ignores that a program is set-user-ID, since no_new_privs is set."""
        try:
            with open(f"{os.path.dirname(self.root)}/status", "rb") as file:
                return b"\nNoNewPrivs:\t1\n" in file.read()
        except OSError:
            return False

    @cached_property
    def libraries(self) -> Libraries:
        found: Libraries = import_own("probe.host.libraries").Libraries(self.root, self.environment or {})
        return found

    def search(self, command: str) -> str | None:
        """Path of *command*, as execvp(3) finds it; empty when it is nowhere, None when that is not known."""
        if self.environment is None:
            return None
        given = self.environment.get("PATH")
        if given is not None and not all(each.startswith("/") for each in given.split(":")):
            return None
        for folder in (*(search_path(self.environment) if given else ("/bin", "/usr/bin")), f"{OWN_OF_CONTAINERD}/bin"):
            try:
                handle = open_path(f"{self.root}{folder}/{command}")
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    continue
                return None
            mode = os.fstat(handle).st_mode
            os.close(handle)
            if stat.S_ISREG(mode) and mode & 0o111:
                return f"{folder}/{command}"
        return ""


class Execution(Struct, frozen=True, kw_only=True):
    """The outcome of execve(2) of a file, foretold; fields as of Place."""

    defect: str = ""
    linked: bool = False
    interpreter: str = ""
    command: str = ""
    libraries: tuple[str, ...] = ()
    unfound: str = ""


def why_not_executed(head: bytes, size: int, machine: str, exists: Callable[[str], bool]) -> str:
    """The reason that a program with these first bytes cannot run on *machine*; empty if they show none.

    *exists* says whether an interpreter is there. *Source*: execve(2), ENOEXEC and ENOENT; elf(5).
    """
    if not head:
        return "is empty"
    if head.startswith(b"#!"):
        interpreter = _script_interpreter(head)
        return _missing(interpreter, exists) if interpreter else "names no interpreter after #!"
    if not head.startswith(ELF):
        return "is neither a program nor a script with #!"
    if len(head) < 64:
        return "is truncated"
    order = "<" if head[5] == 1 else ">"
    machines = _MACHINES.get(native(machine, 8))
    if machines and (order == ">" or struct.unpack_from("<H", head, 18)[0] not in machines):
        return "is a program of another architecture"
    if order == ">" or head[4] != 2:
        return ""
    if any(kind == PT_LOAD and offset + length > size for kind, offset, _, length in program_headers(head)):
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


def command_of(head: bytes) -> str:
    """The program that env(1) of a script looks for along PATH; empty for any other script, and where that is not sure.

    The kernel passes all words behind the interpreter as one; with `-S` env parts them. *Source*: execve(2); env(1).
    """
    line = head[2:].partition(b"\n")[0].strip(b" \t") if head.startswith(b"#!") else b""
    program, _, rest = line.partition(b" ")
    if not re.fullmatch(rb"/(usr/)?bin/env", program) or not re.fullmatch(rb"[ -~]+", rest := rest.strip(b" \t")):
        return ""
    if rest.startswith(b"-S"):
        rest = re.split(rb" +", rest[2:].lstrip())[0]
    return "" if re.match(rb"-|.*[=\\'\"$/]", rest) else rest.decode()


def is_linked(head: bytes) -> bool:
    """True when a 64-bit, little-endian program names a dynamic linker; False for anything else."""
    if not is_elf64(head):
        return False
    return any(kind == _PT_INTERP for kind, *_ in program_headers(head))


def _missing(interpreter: bytes, exists: Callable[[str], bool]) -> str:
    path = os.fsdecode(interpreter.partition(b"\0")[0])
    if not path.startswith("/") or exists(path):
        return ""
    return f"{NEEDS}{ascii(path[:100])[1:-1]}, which does not exist"


def _script_interpreter(head: bytes) -> bytes:
    """The first word behind `#!`; only a space, a tab or a zero byte ends it, so `\\r` of Windows is a part of it."""
    line = head[2:].partition(b"\n")[0].lstrip(b" \t")
    return re.split(rb"[ \t\0]", line, maxsplit=1)[0]


def _linker(head: bytes) -> bytes:
    found = (
        head[offset : offset + length]
        for kind, offset, _, length in program_headers(head)
        if kind == _PT_INTERP and offset + length <= len(head)  # patchelf(1) may have moved it further back
    )
    return next(found, b"")


def execution(file: str, path: str, process: Caller, size: int, depth: int = 0) -> Execution:
    """The outcome of execve(2) of *file*, which the process knows as *path*, and of what starts it in turn."""
    try:
        with open(file, "rb", buffering=0) as opened:
            head = opened.read(HEAD) or b""
        defect = why_not_executed(head, size, os.uname().machine, lambda name: _exists(process.root, name))
        if defect and not os.path.ismount(_BINFMT):  # so the table, which may be long, need not be read
            return Execution(defect=defect)
        if defect:
            with open("/proc/self/mountinfo", "rb") as mounts:
                return Execution() if handlers(mounts) else Execution(defect=defect)  # handlers may run any file
        interpreter = interpreter_of(head)
        if is_linked(head):
            libraries = process.libraries.look(file, path, interpreter)
            defect = f"{NEEDS}{libraries.missing}" if libraries.missing else ""
            return Execution(linked=True, interpreter=interpreter, libraries=libraries.found, defect=defect)
    except OSError:
        return Execution()
    command = command_of(head)
    found = process.search(command) if command else ""
    return Execution(
        interpreter=interpreter,
        command=found or "",
        unfound=command if found == "" else "",
        defect=_why_in_turn((interpreter, found), process, depth),
    )


def _why_in_turn(programs: Iterable[str | None], process: Caller, depth: int) -> str:
    """Why one of *programs*, which start a script, does not run itself."""
    for program in programs if depth < _MAX_INTERPRETERS else ():
        if not program:
            continue
        handle = open_path(f"{process.root}{program}")
        try:
            seen, own = os.fstat(handle), f"/proc/self/fd/{handle}"
            real = os.readlink(own).removeprefix(process.root)
            if stat.S_ISREG(seen.st_mode) and (why := execution(own, real, process, seen.st_size, depth + 1).defect):
                return f"{NEEDS}{ascii(program[:100])[1:-1]}, which {why}"
        finally:
            os.close(handle)
    return ""


def handlers(mounts: Iterable[bytes], directory: str = _BINFMT) -> set[str]:
    """Names of the handlers of other formats, where the lines of mountinfo have their file system.

    Elsewhere *directory* is not listed, as systemd's automount would mount it. *Errors*: OSError.
    """
    mounted = any(b" - binfmt_misc " in line for line in mounts)
    return set(os.listdir(directory)) - {"register", "status"} if mounted else set()


def _exists(root: str, path: str) -> bool:
    try:
        os.close(open_path(f"{root}{path}"))
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    return True
