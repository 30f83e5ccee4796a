"""A look: a short text that changes whenever a file, link, process or mount table changes.

The probe looks at each source before it reads the source; the looker of `watch` looks again and compares. This module
imports the standard library alone.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import zlib
from collections.abc import Callable

UNSEEN = "unseen"
"""The look at a source whose changes cannot be detected."""
CHURN = re.compile(
    r"/[0-9a-f]{64}(?![0-9a-f])"  # of a container or sandbox: its root, its shm, its layers
    r"|/pods/(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])"  # of a Pod, by its UID
    r"|/plugins/kubernetes\.io/|/tmpmounts/"  # of volumes that Pods share, of images that are unpacked
    r"|^/run/(?:user|credentials)/"  # of logins and systemd's services
)
"""Paths of mounts that come and go with Pods, logins and services, and do not affect the verdict."""

_LIMIT = 1 << 20  # bytes of a kernel's file
_AMPLE_BYTES, _AMPLE_INODES = 1 << 20, 64  # of a file system: with less a Pod may start or not
_SHORT = 100  # bytes that are their own digest
_STATUS = re.compile(
    rb"^(?:(?:Umask|Uid|Gid|Groups|NSpid|Cap\w+|NoNewPrivs|Seccomp\w*):.*|State:\t[TtXZ].*)$", re.MULTILINE
)
_CHURN = re.compile(CHURN.pattern.encode())
_EVERYWHERE = frozenset((b"nsfs", b"overlay", b"proc", b"tmpfs"))  # what each Pod has says nothing of its volumes
_PEERS = re.compile(rb":\d+")
_THROUGH_A_ROOT = re.compile(r"(/proc/\d+/root)/+(.*)", re.DOTALL)


def look(kind: str, path: str, roots: dict[str, bool] | None = None) -> str:
    """The look at *path* of this *kind*; `errno N` when a system call fails, UNSEEN for unexpected content.

    *Kinds*: content, file, link, mounts, place, room, start, status. *roots*, at first empty, is shared by looks of one
    moment: for each root of a process, whether it is the root of this process.
    """
    try:
        if kind in _BEHIND_ROOTS:
            return _BEHIND_ROOTS[kind](reachable(path, {} if roots is None else roots))
        return _KINDS[kind](path) if kind in _KINDS else meaning(kind, _read(path))
    except OSError as error:
        return f"errno {error.errno}"
    except (LookupError, ValueError):
        return UNSEEN


def meaning(kind: str, content: bytes) -> str:
    """The look at *content* of a kernel's file.

    Of proc_pid_stat(5) the start time; of proc_pid_status(5) credentials, and that the process is stopped or has ended.
    *Errors*: LookupError for another kind, or content of another form.
    """
    return _MEANINGS[kind](content)


def is_settled(seen: str, before: int) -> bool:
    """Whether the look at a file shows that it is absent, or changed last *before* a time in nanoseconds."""
    return seen == f"errno {errno.ENOENT}" or (seen[:1].isdecimal() and int(seen.rpartition(" ")[2]) < before)


def digest(content: bytes) -> str:
    """*content* itself when it is short, else its length and checksums."""
    if len(content) <= _SHORT:
        return content.decode("latin-1")
    return f"{len(content)} {zlib.crc32(content):08x} {zlib.adler32(content):08x}"


def significant(table: bytes) -> bytes:
    """The lines of proc_pid_mountinfo(5) without identifiers; of mounts that come with Pods only their types."""
    lines, types = [], set()
    pods: dict[bytes, bool] = {}
    for line in table.split(b"\n"):
        mount, separator, source = line.partition(b" - ")
        if not separator:
            continue
        fields, kind = mount.split(b" ", 5), source.partition(b" ")[0]
        if kind == b"nsfs" or _comes_and_goes(fields[4], pods):
            types.add(kind)
        else:
            lines.append(b" ".join((*fields[2:5], _PEERS.sub(b"", fields[5]), source)))
    return b"\n".join((*lines, *sorted(types - _EVERYWHERE)))


def _comes_and_goes(point: bytes, pods: dict[bytes, bool]) -> bool:
    """True when CHURN is in *point*; *pods* keeps the answer for the directory of a Pod, which has several mounts."""
    pod, volumes, _ = point.partition(b"/volumes/")
    if volumes and pod not in pods:
        pods[pod] = _CHURN.search(pod) is not None
    return (bool(volumes) and pods[pod]) or _CHURN.search(point) is not None


def _file(path: str) -> str:
    """The identity, mode, owner, size and times of the file at *path*, symlinks followed."""
    seen = os.stat(path)
    return (
        f"{seen.st_dev} {seen.st_ino} {seen.st_mode} {seen.st_uid} {seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns}"
    )


def _mounts(path: str) -> str:
    return meaning("mounts", _read(path, 64 << 20))


def traits(status: os.stat_result) -> tuple[int, ...]:
    """What tells of a change that leaves identity and mode as they are, of a program and of a directory.

    Of a program its size and times: it may be written to in place. Of a directory the time at which chattr(1), chown(1)
    or setfacl(1) changed it, until an entry comes or goes, which sets both of its times to the same.
    """
    modified, changed = status.st_mtime_ns, status.st_ctime_ns
    if is_program(status.st_mode):
        return status.st_size, modified, changed
    return (changed,) if stat.S_ISDIR(status.st_mode) and changed != modified else ()


def is_program(mode: int) -> bool:
    """Whether a file of this `st_mode` is a regular one that somebody may execute."""
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def _place(path: str) -> str:
    """The resolved path, identity, mode and traits of *path*."""
    file = os.open(path, os.O_PATH | os.O_CLOEXEC)  # triggers no automount, as stat(2)
    try:
        seen = os.fstat(file)
        # The kernel's own answer takes a tenth of os.path.realpath, which asks for each directory on the way.
        words = (os.readlink(f"/proc/self/fd/{file}"), seen.st_dev, seen.st_ino, seen.st_mode, *traits(seen))
        return " ".join(map(str, words))
    finally:
        os.close(file)


def _room(path: str) -> str:
    """The file system of *path*, whether it is read-only, and what is left of the last megabyte and the last inodes.

    An error makes a file system read-only without a change of the mount table that poll(2) would tell of.
    """
    seen = os.statvfs(path)
    left = min(seen.f_bfree * seen.f_frsize, _AMPLE_BYTES) if seen.f_blocks else _AMPLE_BYTES
    files = min(seen.f_ffree, _AMPLE_INODES) if seen.f_files else _AMPLE_INODES
    return f"{os.stat(path).st_dev} {seen.f_flag & os.ST_RDONLY} {left.bit_length()} {files.bit_length()}"


def _read(path: str, limit: int = _LIMIT) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = bytearray()
        while chunk := os.read(file, 1 << 16):
            content += chunk
            if len(content) > limit:
                raise ValueError(f"{path} is larger than {limit} bytes")
    finally:
        os.close(file)
    return bytes(content)


def reachable(path: str, roots: dict[str, bool]) -> str:
    """The path of a file below /proc/PID/root as this process reaches it; *roots* as of `look`.

    *Errors*: ValueError for a symlink in another root: its target would be resolved from the root of this process;
    OSError.
    """
    through = _THROUGH_A_ROOT.fullmatch(path)
    if not through:
        return path
    root = through[1]
    if root not in roots:
        roots[root] = os.path.samestat(os.stat(root), os.stat("/"))
    if roots[root]:
        return f"/{through[2]}"
    step = root
    for name in through[2].split("/"):
        step += f"/{name}"
        if stat.S_ISLNK(os.lstat(step).st_mode):
            raise ValueError(f"{step} is a symlink in another root")
    return path


_BEHIND_ROOTS: dict[str, Callable[[str], str]] = {"file": _file, "place": _place, "room": _room}
_KINDS: dict[str, Callable[[str], str]] = {"link": os.readlink, "mounts": _mounts}
_MEANINGS: dict[str, Callable[[bytes], str]] = {
    "content": digest,
    "mounts": lambda content: digest(significant(content)),
    "start": lambda content: content.rpartition(b") ")[2].split()[19].decode(),
    "status": lambda content: digest(b"\n".join(_STATUS.findall(content))),
}
