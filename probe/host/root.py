"""The node's files and processes, as they are once its mount namespace was entered.

Everything here may be missing, huge, hostile, or hang. What comes back is a Reading: a value, or why there is none.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import psutil
from msgspec import Struct

from probe.host import syscalls
from probe.host.child import ChildError, run_child
from probe.host.enter import enter_process
from probe.host.program import Output, Untrusted, open_executable, run_open, run_program
from probe.reading import Reading

T = TypeVar("T")

FILE_LIMIT = 4 << 20
"""Bytes of a file that are read; a larger one is a problem, never a half truth."""
LISTING_LIMIT = 20_000
"""Entries of a directory that are listed."""
_PIECE = 1 << 16
_PATIENCE = 2.0  # seconds for one file: a directory on a dead NFS server never answers

# The kernel's own files answer without a server; anything else may lie on a file system that hangs.
_KERNEL_FILE = re.compile(r"/(proc|sys)/(?!\d+/(root|cwd)/)")
_THROUGH_A_ROOT = re.compile(r"(/proc/\d+/root)/+(.*)", re.DOTALL)
_POD_CGROUP = re.compile(r"kubepods|/pod[0-9a-f]{8}[-_]|/(cri-containerd|crio|docker|libpod)-|/docker/|/libpod")


class Process(Struct, frozen=True):
    """One process of this node."""

    pid: int
    name: str
    argv: tuple[str, ...]


class FileStatus(Struct, frozen=True):
    """What stat(2) tells of a file, as far as it matters here."""

    mode: int
    uid: int
    size: int
    modified: float
    """Seconds since the epoch."""
    changed: float = 0.0
    """The same of the inode: package managers give files the time at which they were built, and not this one."""

    @property
    def newest(self) -> float:
        """When it may have been put there, at the latest."""
        return max(self.modified, self.changed)


class Host:
    """One node. Tests put a folder and recorded answers in its place."""

    def read(self, path: str, limit: int = FILE_LIMIT) -> Reading[bytes]:
        """A regular file, whole. A larger, missing or hanging one, or anything but a file, is a problem."""
        if _KERNEL_FILE.match(path):
            return _reading(path, lambda: _read_file(path, _open_path(path), limit))
        return _reading(path, lambda: run_child(lambda: _read_path(path, limit), _PATIENCE, limit))

    def read_text(self, path: str, limit: int = FILE_LIMIT) -> Reading[str]:
        """The same as UTF-8; other bytes are a problem."""
        return self.read(path, limit).parse(lambda content: content.decode())

    def read_beneath(self, directory: str, path: str, limit: int = FILE_LIMIT) -> Reading[bytes]:
        """A file at *path* below *directory*, where others choose the names: no symlink is followed (openat2)."""
        source = f"{directory}/{path}"
        return _reading(source, lambda: run_child(lambda: _read_beneath(directory, path, limit), _PATIENCE, limit))

    def read_all_beneath(self, directory: str, paths: Sequence[str], limit: int = 1 << 16) -> dict[str, Reading[bytes]]:
        """The same for many small files, by one child; when it hangs, none of them was read."""

        def contents() -> bytes:
            return msgspec.json.encode(
                {path: _reading(path, lambda path=path: _read_beneath(directory, path, limit)) for path in paths}  # type: ignore[misc]
            )

        answer = _reading(directory, lambda: run_child(contents, _PATIENCE, limit=64 << 20))
        if answer.value is None:
            return {path: Reading(f"{directory}/{path}", None, answer.problem, answer.kind) for path in paths}
        return msgspec.json.decode(answer.value, type=dict[str, Reading[bytes]])

    def resolve(self, path: str) -> Reading[str]:
        """The path without symlinks; absent when it does not exist."""

        def real() -> bytes:
            return os.fsencode(os.path.realpath(path, strict=True))

        return _reading(path, lambda: os.fsdecode(run_child(real, _PATIENCE)))

    def read_link(self, path: str) -> Reading[str]:
        """Where a symlink of the kernel's points: `/proc/1/exe`, `/proc/1/ns/mnt`."""
        return _reading(path, lambda: os.readlink(path))

    def list_directory(self, path: str) -> Reading[tuple[str, ...]]:
        """The names in a directory, sorted; symlinks on the way are followed."""

        def listing() -> bytes:
            with os.scandir(f"/proc/self/fd/{_open_path(path)}") as entries:
                names = [entry.name for _, entry in zip(range(LISTING_LIMIT + 1), entries, strict=False)]
            if len(names) > LISTING_LIMIT:
                return b"null"
            return json.dumps(sorted(names)).encode()

        def names() -> tuple[str, ...]:
            found = json.loads(run_child(listing, _PATIENCE, limit=16 << 20))
            if found is None:
                raise ValueError(f"has more than {LISTING_LIMIT} entries")
            return tuple(found)

        return _reading(path, names)

    def status(self, path: str) -> Reading[FileStatus]:
        """stat(2) of *path*, symlinks followed."""

        def status() -> bytes:
            seen = os.fstat(_open_path(path))
            found = FileStatus(seen.st_mode, seen.st_uid, seen.st_size, seen.st_mtime, seen.st_ctime)
            return msgspec.json.encode(found)

        return _reading(path, lambda: msgspec.json.decode(run_child(status, _PATIENCE), type=FileStatus))

    def run(
        self, path: str, *arguments: str, environment: dict[str, str] | None = None, timeout: float = 3.0
    ) -> Reading[Output]:
        """What a program of this node prints; refused unless only root could have put it there.

        *Shape*: exit status, stdout and stderr, both decoded. It runs without capabilities and with a clean
        environment; a program that hangs, is killed, or prints more than a mebibyte is a problem.
        """
        source = " ".join((path, *arguments))
        return _reading(source, lambda: run_program(path, arguments, environment or {}, timeout))

    def run_daemon(self, pid: int, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
        """What the executable of a running daemon of this node prints, even if it was replaced or deleted since.

        Refused unless `node_daemon` is true of the very process whose executable was opened, and root owns that file.
        """
        source = " ".join((f"/proc/{pid}/exe", *arguments))

        def run() -> Output:
            process = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                executable, path = open_executable(process)
                try:
                    if not self.node_daemon(pid).value:
                        raise Untrusted("not run: it is not known to belong to a daemon of this node")
                    os.stat("status", dir_fd=process)  # fails if the number passed to another process meanwhile
                    return run_open(executable, path, arguments, {}, timeout)
                finally:
                    os.close(executable)
            finally:
                os.close(process)

        return _reading(source, run)

    def run_in(self, pid: int, path: str, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
        """What the program prints that a daemon of this node has at *path*, in its mount namespace and its root.

        Refused unless `node_daemon` is true of that process; else as `run`.
        """
        source = " ".join((path, *arguments))

        def run() -> bytes:
            process = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if not self.node_daemon(pid).value:
                    raise Untrusted("not run: that process is not known to be a daemon of this node")
                os.stat("status", dir_fd=process)  # fails if the number passed to another process meanwhile
                return run_child(lambda: _run_inside(process, path, arguments, timeout), timeout + 1, limit=8 << 20)
            finally:
                os.close(process)

        answer = _reading(source, run)
        if answer.value is None:
            return Reading(source, None, answer.problem, answer.kind)
        return msgspec.json.decode(answer.value, type=Reading[Output])

    def processes(self) -> Reading[tuple[Process, ...]]:
        """Every process that this /proc shows, in the order of its pids."""

        def processes() -> tuple[Process, ...]:
            found = psutil.process_iter(["name", "cmdline"])
            return tuple(Process(p.pid, p.info["name"] or "", tuple(p.info["cmdline"] or ())) for p in found)

        return _reading("/proc", processes)

    def node_daemon(self, pid: int) -> Reading[bool]:
        """Whether that process belongs to the node and not to a Pod that imitates a daemon.

        It does with UID 0, the PID namespace of process 1, its user namespace, and no Pod's cgroup.
        """
        status, cgroup = self.process_status(pid), self.read_text(f"/proc/{pid}/cgroup")
        user_namespace = self.read_link(f"/proc/{pid}/ns/user")
        for reading in (status, cgroup, user_namespace):
            if reading.value is None:
                return Reading.without(reading.source, reading.kind or "not-readable", reading.problem)
        # NSpid has one number for the PID namespace that this /proc shows, and more for each one below it. Unlike
        # the links in /proc/1/ns it can be read without the right to trace process 1.
        fields = status.value or {}
        initial = self.read_link("/proc/1/ns/user").value or self.read_link("/proc/self/ns/user").value
        return Reading(
            f"/proc/{pid}",
            set(fields["Uid"].split()) == {"0"}
            and len(fields.get("NSpid", "").split()) == 1
            and user_namespace.value == initial
            and not in_pod_cgroup(cgroup.value or "", self.read_text("/proc/1/cgroup").value or ""),
        )

    def process_status(self, pid: int) -> Reading[dict[str, str]]:
        """The fields of proc_pid_status(5) by name: `Uid`, `CapEff`, `Seccomp`."""
        return self.read_text(f"/proc/{pid}/status").parse(parse_status)

    def started_at(self, pid: int) -> Reading[float]:
        """When that process started, in seconds since the epoch."""
        return _reading(f"/proc/{pid}/stat", lambda: float(psutil.Process(pid).create_time()))


def parse_status(content: str) -> dict[str, str]:
    """proc_pid_status(5) as a dictionary; the first of two lines of one name wins, as the kernel writes each once."""
    fields: dict[str, str] = {}
    for line in content.splitlines():
        name, separator, value = line.partition(":")
        if separator:
            fields.setdefault(name, value.strip())
    if "Uid" not in fields:
        raise ValueError("no Uid field")
    return fields


def in_pod_cgroup(content: str, init: str = "") -> bool:
    """Whether proc_pid_cgroup(5) names the cgroup of a Pod or container in any hierarchy.

    *init* is the same of process 1: where the node is a container itself (kind), what lies above it does not count.
    """
    above = {
        _hierarchy(line): os.path.dirname(line.split(":", 2)[2]).rstrip("/")
        for line in init.splitlines()
        if _hierarchy(line)
    }
    for line in content.splitlines():
        path = line.split(":", 2)[-1]
        if _POD_CGROUP.search(path.removeprefix(above.get(_hierarchy(line), ""))):
            return True
    return False


def _hierarchy(line: str) -> str:
    """The controllers of a line of proc_pid_cgroup(5), which name its hierarchy; empty where it is no such line."""
    number, separator, rest = line.partition(":")
    return number + separator + rest.partition(":")[0] if rest.count(":") else ""


def _reading(source: str, read: Callable[[], T]) -> Reading[T]:
    """Run *read*; each way in which it may fail becomes a problem."""
    try:
        return Reading(source, read())
    except TimeoutError:
        return Reading.without(source, "timed-out", "no answer in time")
    except (ChildError, ValueError, MemoryError) as error:
        return Reading.without(source, "not-readable", str(error)[:300] or type(error).__name__)
    except psutil.NoSuchProcess:
        return Reading.without(source, "absent", "the process has ended")
    except psutil.Error as error:
        return Reading.without(source, "not-permitted", str(error)[:300])
    except OSError as error:
        return Reading.from_error(source, error)


def _run_inside(process: int, path: str, arguments: Sequence[str], timeout: float) -> bytes:
    enter_process(process)
    source = " ".join((path, *arguments))
    return msgspec.json.encode(_reading(source, lambda: run_program(path, arguments, {}, timeout)))


def _read_path(path: str, limit: int) -> bytes:
    return _read_file(path, _open_path(path), limit)


def _open_path(path: str) -> int:
    """An O_PATH descriptor. Behind `/proc/<pid>/root` symlinks lead where that process finds them, not where we do."""
    through = _THROUGH_A_ROOT.fullmatch(path)
    if not through:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    root = os.open(through[1], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return syscalls.openat2(root, through[2] or ".", os.O_PATH, syscalls.RESOLVE_IN_ROOT)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    finally:
        os.close(root)


def _read_beneath(directory: str, path: str, limit: int) -> bytes:
    parent = _open_path(directory)
    try:
        found = syscalls.openat2(parent, path, os.O_PATH | os.O_NOFOLLOW, syscalls.RESOLVE_NO_SYMLINKS)
    finally:
        os.close(parent)
    return _read_file(path, found, limit)


def _read_file(path: str, handle: int, limit: int) -> bytes:
    """The content behind an O_PATH descriptor, which is closed.

    Looking before opening keeps FIFOs from blocking and device nodes from doing whatever opening them does.
    """
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("is not a regular file")
        fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(handle)
    with open(fd, "rb", buffering=0) as file:
        content = bytearray()
        # Piece by piece: for /proc/sys the kernel allocates as much as is asked for, and fails with ENOMEM.
        while chunk := file.read(min(_PIECE, limit + 1 - len(content))):
            content += chunk
    if len(content) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    return bytes(content)
