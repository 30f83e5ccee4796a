"""Root of a user namespace with a full map, as a container runtime becomes it for a Pod."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from probe.host.idmap import attempt_user_namespace
from probe.host.sandbox.steps import StepAnswer, parse_filesystems

T = TypeVar("T")

_LINES = 500_000  # maximum lines read from a file of /proc; the kernel allows 100,000 mounts


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


def read_lines(own_proc: int, name: str, parse: Callable[[Iterable[bytes]], T]) -> T:
    """*parse* applied to the lines of a file of our own /proc, which no mount of the node can cover or slow down."""
    with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=own_proc), "rb") as file:
        return parse(islice(file, _LINES))
