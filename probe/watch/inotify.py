"""inotify(7): its system calls return -1 for any error, and `errno` is not kept."""

from __future__ import annotations

import os

from probe.watch.libc import call

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
IN_DONT_FOLLOW = 0x2000000
IN_MASK_ADD = 0x20000000
IN_ONESHOT = 0x80000000

_HEADER = 16  # bytes of struct inotify_event before the name


def inotify_init1(flags: int) -> int:
    """A new instance, as a descriptor; *flags* are those of open(2)."""
    return call("inotify_init1", flags)


def inotify_add_watch(descriptor: int, path: str, mask: int) -> int:
    """The watch of the file at *path*, symlinks followed: the same as before when it is watched already."""
    return call("inotify_add_watch", descriptor, os.fsencode(path), mask)


def read_events(descriptor: int) -> list[tuple[int, int]]:
    """Watch and mask of the events that wait, as many as 64 KB hold. *Errors*: OSError, EAGAIN when none waits."""
    return parse_events(os.read(descriptor, 64 << 10))


def parse_events(events: bytes) -> list[tuple[int, int]]:
    """Watch and mask of each struct inotify_event in *events*."""
    found, start = [], 0
    while start < len(events):
        watch, mask, _, length = (
            int.from_bytes(events[start + at : start + at + 4], "little", signed=not at) for at in range(0, _HEADER, 4)
        )
        found.append((watch, mask))
        start += _HEADER + length
    return found
