"""Attempts on many file systems by child processes; a hung one is abandoned and costs the others nothing."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from probe.host import syscalls
from probe.host.child import Child, ChildError
from probe.host.idmap import Answer, Target, attempt_idmap, attempt_overlay, attempt_tmpfs, enter_own_mount_namespace
from probe.host.processes import HELPER_NAME

UNSERVED = 3.0
"""Factor on the timeout of file systems without a server: slow on a busy node, hung only with their disk."""
FUSE_PAUSE = 0.15
"""Seconds before a retry on FUSE: the kernel answers EINVAL until the server has answered FUSE_INIT."""


def attempt_all(
    targets: Sequence[Target], userns_fd: int, deadline: float, timeout: float, prepare: Callable[[], None]
) -> Iterator[tuple[int, Answer]]:
    """(index, answer) of each target, tried by child processes (helpers).

    A helper announces each target before it touches it. A helper that is silent for *timeout* seconds is abandoned:
    its target and all others behind the same server get ETIMEDOUT, and a new helper continues. Targets without a
    server come first, so that hung servers cannot use up their time. Targets not reached by *deadline*
    (time.monotonic()) get no answer. Each helper calls *prepare* first, to enter a mount namespace. A helper that
    dies costs one target its answer.
    """
    for served in (False, True):
        group = {index: target for index, target in enumerate(targets) if bool(target.server) is served}
        yield from _attempt_group(group, userns_fd, deadline, timeout * (1 if served else UNSERVED), prepare)


def _attempt_group(
    targets: dict[int, Target], userns_fd: int, deadline: float, timeout: float, prepare: Callable[[], None]
) -> Iterator[tuple[int, Answer]]:
    pending = dict(targets)
    while pending and (remaining := deadline - time.monotonic()) > 0:
        try:
            helper = Child(lambda write, rest=pending: _walk(rest, userns_fd, prepare, write))  # type: ignore[misc]
        except OSError as error:  # no process left; the next fork would fail, too
            yield from ((index, Answer("fork", error.errno or errno.EIO)) for index in pending)
            return
        at: int | None = None  # index of the current target
        with helper:
            try:
                for line in helper.lines(min(timeout, remaining), limit=64 << 20):
                    index, answer = msgspec.json.decode(line, type=tuple[int, Answer | None])
                    at = None if answer else index
                    if answer:
                        del pending[index]
                        yield index, answer
                    if time.monotonic() > deadline:
                        return
            except TimeoutError:
                if remaining < timeout:
                    return  # too little time to prove a hang
                hung = {targets[at].device, targets[at].server} - {""} if at is not None else set()
                for index in [i for i, target in pending.items() if i == at or target.server in hung]:
                    yield index, Answer("open_tree" if pending[index].kind == "mount" else "helper", errno.ETIMEDOUT)
                    del pending[index]
                continue
            except (ChildError, msgspec.DecodeError):
                pass
            if pending:  # the helper was killed, or has run out of memory or descriptors
                lost = next(iter(pending)) if at is None else at
                del pending[lost]
                yield lost, Answer("helper", errno.EIO)


def _walk(
    targets: dict[int, Target],
    userns_fd: int,
    prepare: Callable[[], None],
    write: Callable[[bytes], None],
) -> None:
    again = []
    failure = prepare_helper(prepare)
    # Last: what changes the mount namespace of this process.
    for index, target in sorted(targets.items(), key=lambda item: (item[1].kind == "overlay", item[1].unbindable)):
        if failure:
            write(msgspec.json.encode((index, failure)) + b"\n")
            continue
        syscalls.set_name(HELPER_NAME + target.device)
        write(msgspec.json.encode((index, None)) + b"\n")
        answer = _attempt(target, userns_fd)
        if is_fuse(target.fstype) and answer.step == "mount_setattr" and answer.error == errno.EINVAL:
            again.append((index, target, _fuse_requests(target.device)))
        else:
            write(msgspec.json.encode((index, answer)) + b"\n")
    if again:
        time.sleep(FUSE_PAUSE)
    for index, target, waiting in again:
        syscalls.set_name(HELPER_NAME + target.device)
        write(msgspec.json.encode((index, None)) + b"\n")
        answer = attempt_idmap(target, userns_fd)
        if answer.error and waiting and _fuse_requests(target.device):
            answer = msgspec.structs.replace(answer, waiting=True)
        write(msgspec.json.encode((index, answer)) + b"\n")


def _attempt(target: Target, userns_fd: int) -> Answer:
    if target.kind == "tmpfs":
        return attempt_tmpfs(userns_fd)
    if target.kind == "overlay":
        return attempt_overlay(target.path, userns_fd)
    return _attempt_in_own_namespace(target, userns_fd) if target.unbindable else attempt_idmap(target, userns_fd)


def prepare_helper(prepare: Callable[[], None]) -> Answer | None:
    """None when *prepare* has entered the mount namespace, else the answer for all targets in it."""
    try:
        prepare()
    except OSError as error:
        return Answer("setns", error.errno or errno.EIO)
    return None


def _attempt_in_own_namespace(target: Target, userns_fd: int) -> Answer:
    """Attempt *target* in a new mount namespace, where unbindable mounts of the original are bindable."""
    try:
        enter_own_mount_namespace()
    except OSError as error:
        return Answer("unshare", error.errno or errno.EIO)
    return attempt_idmap(target, userns_fd)


def is_fuse(fstype: str) -> bool:
    """True for FUSE of every kind and virtiofs, whose server decides on idmapped mounts."""
    return fstype in ("fuse", "fuseblk", "virtiofs") or fstype.startswith(("fuse.", "fuseblk."))


def _fuse_requests(device: str) -> int:
    """Number of requests that the server of a FUSE mount has not answered; 0 when unknown.

    *Source*: Documentation/filesystems/fuse.rst, the control file system. The probe never mounts it.
    """
    try:
        control = syscalls.mount_detached("fusectl")
    except OSError:
        return 0
    try:
        major, minor = (int(part) for part in device.split(":"))
        file = os.open(f"{major << 20 | minor}/waiting", os.O_RDONLY | os.O_CLOEXEC, dir_fd=control)
        with open(file) as waiting:
            return int(waiting.read(32))
    except (OSError, ValueError):
        return 0
    finally:
        os.close(control)
