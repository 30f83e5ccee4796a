"""Looks at the sources of a probe: exact ones, and short ones that tell whether an exact one is needed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select

from probe.host.look import UNSEEN, digest, look, meaning
from probe.watch.kernel_files import Batch, KernelFile
from probe.watch.shortcut import ABSENT, Shortcut, Source, find_shortcut

_RARE = re.compile(
    r"/proc/(?:\d+/(?!attr/)|cmdline$|filesystems$|sys/kernel/(?:arch|osrelease|random/boot_id)$)|/sys/(?!fs/selinux/)"
)
"""Files of the kernel that change hardly ever, or never. Sysctls and labels are not among them."""


class Looks:
    """The sources of the last probe, each with its look at that time."""

    def __init__(self, memory: bytes) -> None:
        """*Errors*: ValueError when *memory* names no source, or one whose changes cannot be detected."""
        sources = [(kind, path, seen) for kind, path, seen in json.loads(memory)["sources"]]
        if not sources or any(not isinstance(word, str) or word == UNSEEN for source in sources for word in source):
            raise ValueError("it is not known what to look at")
        self._sources: list[Source] = []
        self._rooms = [(path, seen) for kind, path, seen in sources if kind == "room"]
        self._files: list[KernelFile] = []
        self._shortcut: Shortcut | None = None
        self._namespace = os.stat("/proc/self/ns/mnt").st_ino
        self._tables: dict[int, MountTable] = {}  # by mount namespace: usually one for process 1 and the runtime
        for kind, path, seen in sources:
            if kind == "mounts":
                self._tables[os.stat(f"{os.path.dirname(path)}/ns/mnt").st_ino] = MountTable(path, seen)
            elif kind in ("content", "start", "status") and seen != ABSENT:
                self._add_file(KernelFile(kind, path, seen))
            elif kind != "room":
                self._sources.append((kind, path, seen))
        told = {os.path.dirname(file.path) for file in self._files if file.kind == "status"}
        # The status of a process that has ended cannot be read, so a start time that was right once stays so.
        self._lasting = [file for file in self._files if file.kind != "start" or os.path.dirname(file.path) not in told]
        linked = {path.partition("/ns/")[0] for kind, path, seen in sources if _is_namespace(kind, path, seen)}
        self._often = Batch(file for file in self._lasting if not _is_rare(file, linked))

    def changed(self, *, full: bool = True) -> str:
        """Kind and path of the first source whose look differs; empty when none does. *Errors*: OSError.

        One that is not *full* asks neither for what the kernel watches nor for what hardly ever changes, as the limits
        of a process and the propagation of a mount. It asks for all but the latter where anything differs.
        """
        if not full and self._shortcut and self._shortcut.is_held and self._seems_same(self._shortcut):
            return ""
        for file in self._files:
            if file.changed():
                return f"{file.kind} {file.path}"
        self._files = self._lasting
        for path, seen in self._rooms:
            if look("room", path) != seen:
                return f"room {path}"
        # No short cut after a mount or umount: either may change where any path leads.
        moved = [table for table in self._tables.values() if table.moved()]
        for table in self._tables.values() if full else moved:
            if table.changed():
                return f"mounts {table.path}"
        if self._shortcut and not moved and not self._shortcut.difference():
            return ""
        return self._exact_look()

    def _seems_same(self, shortcut: Shortcut) -> bool:
        """Whether nothing differs of what this look asks for."""
        if self._often.changed():
            return False
        for table in self._tables.values():  # a loop: each generator is more code that no cache has
            if table.moved():
                return False
        return not shortcut.difference(full=False)

    def _add_file(self, file: KernelFile) -> None:
        """Keep *file* open, unless a look at it failed, and an open file does not tell whether it still does."""
        if file.seen.startswith("errno") and file.changed():
            file.close()
            self._sources.append((file.kind, file.path, file.seen))
        else:
            self._files.append(file)

    def _exact_look(self) -> str:
        """The first changed source outside the kernel's file systems; after none, the next look takes a short cut."""
        if self._shortcut:
            self._shortcut.close()
        own = self._tables.get(self._namespace)
        shortcut: Shortcut | None = None
        with contextlib.suppress(OSError):  # each look is exact then
            shortcut = find_shortcut(self._sources, own.types) if own else None
        self._shortcut = None
        roots: dict[str, bool] = {}
        for kind, path, seen in self._sources:
            if look(kind, path, roots) != seen:
                return f"{kind} {path}"
        self._shortcut = shortcut
        return ""


class MountTable:
    """A mount table, and whether the kernel reports a change of it (poll(2), POLLPRI).

    It reports mounts that are added, removed or get other flags, but not that a mount gets another propagation, nor
    that an error makes a file system read-only. *Source*: fs/namespace.c, `do_change_type`.
    """

    def __init__(self, path: str, seen: str) -> None:
        """*Errors*: OSError."""
        self.path = path
        self._seen = seen
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLPRI | select.POLLERR)
        self._unread = True
        self._same = ""  # digest of a table of which the look is the same
        self.types: dict[str, str] = {}
        """Device as `major:minor` -> type of the file system, of all mounts that were read last."""

    def moved(self) -> bool:
        """True when any mount was added, removed or changed since `changed` read the table."""
        self._unread = bool(self._poll.poll(0)) or self._unread
        return self._unread

    def changed(self) -> bool:
        """True when the look differs. *Errors*: OSError."""
        self.moved()  # what the kernel reports before the table is read is in it
        self._unread = False
        os.lseek(self._file, 0, os.SEEK_SET)
        content = bytearray()
        while chunk := os.read(self._file, 1 << 16):
            content += chunk
        table = bytes(content)
        if (read := digest(table)) != self._same:
            self.types = _types(table)
            if meaning("mounts", table) != self._seen:
                return True
            self._same = read
        return False


def _types(table: bytes) -> dict[str, str]:
    """`MountTable.types` of proc_pid_mountinfo(5)."""
    found: dict[bytes, bytes] = {}
    for line in table.split(b"\n"):
        mount, separator, filesystem = line.partition(b" - ")
        if separator:
            found[mount.split(b" ", 3)[2]] = filesystem.partition(b" ")[0]
    return {device.decode("latin-1"): kind.decode("latin-1") for device, kind in found.items()}


def _is_namespace(kind: str, path: str, seen: str) -> bool:
    """Whether it is a link that tells that its process has ended."""
    return kind == "link" and "/ns/" in path and not seen.startswith("errno")


def _is_rare(file: KernelFile, linked: set[str]) -> bool:
    """Whether only a full look asks for *file*. *linked*: directories of processes of which a link tells their end."""
    if file.kind in ("start", "status"):
        return os.path.dirname(file.path) in linked
    return file.seen.startswith("errno") or _RARE.match(file.path) is not None
