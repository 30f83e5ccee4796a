"""The file of the report, which is untrusted: what it may be instead of a file that can be read, each with a state."""

from __future__ import annotations

import errno
import os
import stat
from typing import Literal

LIMIT = 1 << 20
"""Maximum bytes of a report, as in `watch`."""

State = Literal[
    "valid",
    "expired",
    "missing",
    "not-readable",
    "not-a-file",
    "too-large",
    "not-a-report",
    "other-schema",
    "other-boot",
    "other-node",
    "from-the-future",
]
"""State of the file; only `valid` and `expired` have a complete report of this node."""

_NOT_FILES = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV)  # symbolic link, directory, socket, device

Identity = tuple[int, int, int, int, int]
_PART = 64 << 10  # bytes that are read at once


class Unusable(Exception):
    """The file has no usable report."""

    def __init__(self, state: State, message: str) -> None:
        super().__init__(message)
        self.state = state
        self.message = message


def read_file(path: str) -> tuple[Identity, bytes]:
    """(identity, content) of the regular file *path*; the identity differs for each replacement.

    *Errors*: Unusable; OSError when it cannot be opened or read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unusable("not-a-file", "the report file is not a regular file")
        content = b""
        while status.st_size <= LIMIT >= len(content) and (part := os.read(descriptor, _PART)):
            content += part
    finally:
        os.close(descriptor)
    if max(status.st_size, len(content)) > LIMIT:
        raise Unusable("too-large", f"the report file has more than {LIMIT} bytes")
    return identity_of(status), content


def identity_of(status: os.stat_result) -> Identity:
    """Identity of the file with that *status*."""
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def unusable(error: OSError) -> Unusable:
    """The state that the *error* of opening or reading the file means."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Unusable("missing", "no report was written yet")
    if error.errno in _NOT_FILES:
        return Unusable("not-a-file", "the report file is not a regular file")
    return Unusable("not-readable", f"the report file cannot be read: {os.strerror(error.errno or errno.EIO)}")
