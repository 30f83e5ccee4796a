"""Root of a user namespace with a full map, as a container runtime becomes it for a Pod."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import TypeVar

from probe.host.idmap import attempt_user_namespace
from probe.host.sandbox.steps import StepAnswer, parse_filesystems

T = TypeVar("T")

_LINES = 500_000  # maximum lines read from a file of /proc; the kernel allows 100,000 mounts
_CGROUPS = "/sys/fs/cgroup"
_CGROUP_FLAGS = ("rw", "ro", "release_agent=")  # options that a user namespace may not set, or sets as mount flags


def make_user_namespace(own_proc: int) -> tuple[int, StepAnswer]:
    """Descriptor of a user namespace with a full map (-1 on failure), and the answer of this step."""
    started = time.perf_counter()
    fd, answer = attempt_user_namespace(own_proc)
    seconds = round(time.perf_counter() - started, 6)
    if answer.error:
        return -1, StepAnswer("user namespace", "failed", answer.error, seconds, answer.step)
    return fd, StepAnswer("user namespace", "done", 0, seconds)


def read_filesystems(own_proc: int) -> dict[str, bool]:
    """File system types that the kernel knows now, as `parse_filesystems` returns them."""
    return parse_filesystems(read_lines(own_proc, "filesystems", b"".join).decode(errors="replace"))


def read_cgroup(own_proc: int) -> tuple[str, str] | None:
    """Type and options of the cgroup mount that a runtime would make here, as `parse_cgroup` returns them."""
    return read_lines(own_proc, "self/mountinfo", partial(parse_cgroup, top=_mount_id(own_proc, _CGROUPS)))


def _mount_id(own_proc: int, path: str) -> bytes:
    """ID in mountinfo of the mount that *path* lies in; empty when it is unknown. *Source*: proc_pid_fdinfo(5)."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)  # asks no server, and triggers no automount
        try:
            fields = read_lines(own_proc, f"self/fdinfo/{fd}", lambda lines: [line.split() for line in lines])
        finally:
            os.close(fd)
    except OSError:
        return b""
    return next((field[1] for field in fields if len(field) == 2 and field[0] == b"mnt_id:"), b"")


def parse_cgroup(mountinfo: Iterable[bytes], top: bytes = b"") -> tuple[str, str] | None:
    """Type and options of the cgroup mount that a runtime would make; None when no cgroup file system is mounted.

    cgroup2 if it is mounted on /sys/fs/cgroup, else any hierarchy of version 1, which stand for each other. *top* is
    the ID of the mount that /sys/fs/cgroup lies in; without it, only the end of the table tells that no cgroup2 is
    mounted there. Reading stops at the line that decides.
    """
    first: tuple[str, str] | None = None
    unified = True
    for line in mountinfo:
        if top and line.startswith(top + b" "):
            unified = b" - cgroup2 " in line
        if b" - cgroup" in line and (found := _parse_cgroup_line(line)):
            if found[0] == "cgroup2":
                return found
            first = first or found
        if first and not unified:
            break
    return first


def _parse_cgroup_line(line: bytes) -> tuple[str, str] | None:
    """Type and options of a hierarchy of version 1, or of cgroup2 on /sys/fs/cgroup."""
    mount, _, filesystem = line.rstrip(b"\n").decode(errors="replace").partition(" - ")
    places, kinds = mount.split(" "), filesystem.split(" ")
    if len(places) < 5 or len(kinds) < 3:
        return None
    if kinds[0] == "cgroup2" and places[4] == _CGROUPS:
        return "cgroup2", ""
    if kinds[0] == "cgroup":
        return "cgroup", ",".join(option for option in kinds[2].split(",") if not option.startswith(_CGROUP_FLAGS))
    return None


def read_lines(own_proc: int, name: str, parse: Callable[[Iterable[bytes]], T]) -> T:
    """*parse* applied to the lines of a file of our own /proc, which no mount of the node can cover or slow down."""
    with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=own_proc), "rb") as file:
        return parse(islice(file, _LINES))
