"""A FUSE file system on raw /dev/fuse, well-behaved or stuck as a test wants it.

Its root holds a directory `d` and a file `f`, all root's. Names and layouts are those of linux/fuse.h. Nothing is
cached in the kernel (all timeouts are 0), so that whoever needs the server really meets it.
"""

from __future__ import annotations

import errno
import mmap
import os
import signal
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from lab.real import kernel

FUSE_LOOKUP, FUSE_FORGET, FUSE_GETATTR = 1, 2, 3
FUSE_OPEN, FUSE_READ, FUSE_STATFS, FUSE_RELEASE = 14, 15, 17, 18
FUSE_FLUSH, FUSE_INIT, FUSE_OPENDIR, FUSE_READDIR, FUSE_RELEASEDIR = 25, 26, 27, 28, 29
FUSE_ACCESS, FUSE_INTERRUPT, FUSE_BATCH_FORGET = 34, 36, 42
_WITHOUT_REPLY = (FUSE_FORGET, FUSE_INTERRUPT, FUSE_BATCH_FORGET)
_NOTHING_TO_SAY = (FUSE_RELEASE, FUSE_FLUSH, FUSE_RELEASEDIR, FUSE_ACCESS)

FUSE_INIT_EXT = 1 << 30  # in flags: flags2 counts too
FUSE_ALLOW_IDMAP = 1 << 40
VERSION = (7, 41)  # the protocol's version that brought FUSE_ALLOW_IDMAP
FUSE_ROOT_ID = 1

fuse_in_header = struct.Struct("=IIQQIIIHH")  # len opcode unique nodeid uid gid pid total_extlen padding
fuse_out_header = struct.Struct("=IiQ")  # len error unique
fuse_init_in = struct.Struct("=IIIII")  # major minor max_readahead flags flags2; reserved fields follow
fuse_init_out = struct.Struct("=IIIIHHIIHHI28x")  # the same four, max_background congestion_threshold max_write
#                                                   time_gran max_pages map_alignment flags2; reserved fields
fuse_attr = struct.Struct("=6Q10I")  # ino size blocks atime mtime ctime, their nanoseconds, mode nlink uid gid rdev
#                                      blksize flags
fuse_attr_out = struct.Struct("=QII")  # attr_valid attr_valid_nsec dummy; fuse_attr follows
fuse_entry_out = struct.Struct("=QQQQII")  # nodeid generation entry_valid attr_valid and both in ns; fuse_attr follows
fuse_open_out = struct.Struct("=QII")  # fh open_flags padding
fuse_read_in = struct.Struct("=QQI")  # fh offset size; more follows
fuse_kstatfs = struct.Struct("=5Q4I24x")  # blocks bfree bavail files ffree bsize namelen frsize padding; spare
fuse_dirent = struct.Struct("=QQII")  # ino off namelen type; the name follows, padded to 8 bytes

CONTENT = b"served by a test\n"
NODES = {FUSE_ROOT_ID: ("", stat.S_IFDIR | 0o755), 2: ("d", stat.S_IFDIR | 0o755), 3: ("f", stat.S_IFREG | 0o644)}


class FuseServer:
    """A mounted file system and its server, a process of its own; both are gone when the `with` block ends.

    *idmap* answers FUSE_ALLOW_IDMAP, which the kernel wants together with *default_permissions*. With *init* False
    the kernel's first question is never answered.
    """

    def __init__(self, mountpoint: str, *, idmap: bool = False, default_permissions: bool = False, init: bool = True):
        self.mountpoint = mountpoint
        self.idmap = idmap
        self.init = init
        self._shared = mmap.mmap(-1, 2)  # with the server: whether it is mute, and how many requests it swallowed
        self._fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fuse},rootmode=40000,user_id=0,group_id=0,allow_other"
        try:
            kernel.mount("test", mountpoint, "fuse.test", 0, options + ",default_permissions" * default_permissions)
            self.pid = self._start()
        finally:
            os.close(self._fuse)  # the server's own descriptor is the last one: with it the connection ends
        # The number by which fusectl knows the mount; stat would tell it too, but could hang.
        self.connection = int(kernel.mounts_below(mountpoint)[mountpoint].split(":")[1])

    def _start(self) -> int:
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                kernel.die_with_parent()
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the test's end ends the server
                self._serve(write_end)
            finally:
                os._exit(1)
        os.close(write_end)
        with open(read_end, "rb") as answered:
            if self.init:
                answered.read(1)  # before that the kernel calls every FUSE mount incapable of id mapping
        return pid

    def stop(self) -> None:
        """The server reads nothing any more; whoever waits for it can still be killed."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # it stops when it next runs, not when the signal is sent

    def mute(self) -> None:
        """The server reads each request and answers none: whoever waits cannot even be killed."""
        self._shared[0] = 1

    def resume(self) -> None:
        """The server answers new requests again; what it swallowed while mute stays unanswered."""
        self._shared[0] = 0
        os.kill(self.pid, signal.SIGCONT)

    def swallowed(self) -> int:
        """How many requests the mute server has read, and so who asked cannot be killed any more."""
        return self._shared[1]

    def waiting(self) -> int:
        """How many requests have no answer yet, read by the server or not."""
        with self._fusectl() as control, open(f"{control}/waiting") as file:
            return int(file.read())

    def abort(self) -> None:
        """End the connection from outside: everybody who waits gets ENOTCONN or ECONNABORTED, the mount stays."""
        with self._fusectl() as control, open(f"{control}/abort", "w") as file:
            file.write("1")

    @contextmanager
    def _fusectl(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory() as target:  # a mount of our own: not every machine has one
            kernel.mount("fusectl", target, "fusectl")
            try:
                yield f"{target}/{self.connection}"
            finally:
                kernel.detach(target)

    def close(self) -> None:
        """Kill the server, which frees whoever waits for it, and unmount. Does nothing the second time."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
            kernel.detach(self.mountpoint)

    def __enter__(self) -> FuseServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # From here on: the server process.

    def _serve(self, answered: int) -> NoReturn:
        while True:
            try:
                request = os.read(self._fuse, 1 << 17)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EAGAIN):  # whoever asked was interrupted meanwhile
                    continue
                os._exit(0)  # ENODEV: unmounted or aborted
            _, opcode, unique, nodeid, *_ = fuse_in_header.unpack_from(request)
            if opcode in _WITHOUT_REPLY or (opcode == FUSE_INIT and not self.init):
                continue
            if self._shared[0]:
                self._shared[1] = min(self._shared[1] + 1, 255)
                continue
            failure, payload = self._reply(opcode, nodeid, request[fuse_in_header.size :])
            with suppress(OSError):  # ENOENT: nobody waits for it any more
                length = fuse_out_header.size + len(payload)
                os.write(self._fuse, fuse_out_header.pack(length, -failure, unique) + payload)
            if opcode == FUSE_INIT:
                os.write(answered, b"!")
                os.close(answered)

    def _reply(self, opcode: int, nodeid: int, body: bytes) -> tuple[int, bytes]:
        """(errno, payload) for one request."""
        if opcode == FUSE_INIT:
            return 0, self._init(body)
        if opcode == FUSE_GETATTR:
            return 0, fuse_attr_out.pack(0, 0, 0) + _attributes(nodeid)
        if opcode == FUSE_LOOKUP:
            name = body.rstrip(b"\0").decode()
            for child in _children(nodeid):
                if NODES[child][0] == name:
                    return 0, fuse_entry_out.pack(child, 0, 0, 0, 0, 0) + _attributes(child)
            return errno.ENOENT, b""
        if opcode in (FUSE_OPEN, FUSE_OPENDIR):
            return 0, fuse_open_out.pack(0, 0, 0)
        if opcode in (FUSE_READ, FUSE_READDIR):
            _, offset, size = fuse_read_in.unpack_from(body)
            whole = CONTENT if opcode == FUSE_READ else _entries(nodeid)
            return 0, whole[offset : offset + size]
        if opcode == FUSE_STATFS:
            return 0, fuse_kstatfs.pack(100, 50, 50, 10, 5, 4096, 255, 4096, 0)
        return 0 if opcode in _NOTHING_TO_SAY else errno.ENOSYS, b""

    def _init(self, body: bytes) -> bytes:
        _, minor, max_readahead, offered, offered2 = fuse_init_in.unpack_from(body.ljust(fuse_init_in.size, b"\0"))
        wanted = FUSE_INIT_EXT | FUSE_ALLOW_IDMAP if self.idmap else 0
        flags = wanted & (offered | offered2 << 32)
        low, high = flags & 0xFFFFFFFF, flags >> 32
        return fuse_init_out.pack(VERSION[0], min(minor, VERSION[1]), max_readahead, low, 12, 9, 65536, 1, 0, 0, high)


def _children(nodeid: int) -> list[int]:
    return [each for each in NODES if each != FUSE_ROOT_ID and nodeid == FUSE_ROOT_ID]


def _attributes(nodeid: int) -> bytes:
    mode = NODES[nodeid][1]
    size = len(CONTENT) if stat.S_ISREG(mode) else 0
    return fuse_attr.pack(nodeid, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _entries(nodeid: int) -> bytes:
    """The directory as FUSE_READDIR tells it; `off` is where in these bytes the next entry starts."""
    whole = b""
    for child in _children(nodeid):
        name, mode = NODES[child]
        length = fuse_dirent.size + len(name) + -len(name) % 8
        entry = fuse_dirent.pack(child, len(whole) + length, len(name), mode >> 12) + name.encode()
        whole += entry.ljust(length, b"\0")
    return whole
