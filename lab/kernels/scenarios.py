"""The circumstances in which the real command has to be honest: each is a context manager around it in a guest.

It yields the words that go before the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from lab.kernels import seccomp
from lab.real import kernel

FIRST = 300000  # host id of root in the nested user namespace


@contextmanager
def _sysctl(name: str, value: str) -> Iterator[list[str]]:
    file = Path("/proc/sys", name.replace(".", "/"))
    before = file.read_text()
    file.write_text(value)
    try:
        yield []
    finally:
        file.write_text(before)


@contextmanager
def _prefix(*words: str) -> Iterator[list[str]]:
    yield list(words)


@contextmanager
def _chroot(*, mounted: bool) -> Iterator[list[str]]:
    """A directory that shows the node's root: the mount itself, as in `kubectl debug node`, or what lies in it."""
    with tempfile.TemporaryDirectory(dir="/run") as jail, ExitStack() as mounts:

        def show(path: str, target: str) -> None:
            subprocess.run(["mount", "--rbind", path, target], check=True)
            # What is taken away here must not be taken away there.
            subprocess.run(["mount", "--make-rslave", target], check=True)
            mounts.callback(kernel.detach, target)

        for entry in [] if mounted else os.listdir("/"):
            if os.path.islink(f"/{entry}"):
                os.symlink(os.readlink(f"/{entry}"), f"{jail}/{entry}")
            elif os.path.isdir(f"/{entry}"):
                os.mkdir(f"{jail}/{entry}")
                show(f"/{entry}", f"{jail}/{entry}")
        if mounted:
            show("/", jail)
        yield ["chroot", jail]


@contextmanager
def _user_namespace() -> Iterator[list[str]]:
    with kernel.user_namespace(FIRST) as namespace:
        yield ["nsenter", f"--user=/proc/{os.getpid()}/fd/{namespace}", "--"]


def _filtered(error: str, system_calls: Sequence[int]) -> AbstractContextManager[list[str]]:
    return _prefix(sys.executable, "-I", seccomp.__file__, error, ",".join(map(str, system_calls)))


CONFINED: dict[str, Callable[[], AbstractContextManager[list[str]]]] = {
    "seccomp: mount_setattr ENOSYS": partial(_filtered, "ENOSYS", seccomp.MOUNT_SETATTR),
    "seccomp: mount_setattr EPERM": partial(_filtered, "EPERM", seccomp.MOUNT_SETATTR),
    "seccomp: mount API ENOSYS": partial(_filtered, "ENOSYS", seccomp.MOUNT_API),
    "seccomp: mount API EPERM": partial(_filtered, "EPERM", seccomp.MOUNT_API),
    "seccomp: unshare and setns ENOSYS": partial(_filtered, "ENOSYS", seccomp.NAMESPACES),
    "seccomp: unshare and setns EPERM": partial(_filtered, "EPERM", seccomp.NAMESPACES),
    "no capabilities": partial(_prefix, "setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"),
    "nested user namespace": _user_namespace,
    "chroot": partial(_chroot, mounted=False),
    "chroot to a mount": partial(_chroot, mounted=True),
}
"""Where the probe may not try everything."""
CIRCUMSTANCES = {
    "seccomp": "under a seccomp filter",
    "no capabilities": "CAP_SYS_ADMIN",
    "nested user namespace": "in a user namespace of its own",
    "chroot": "in a chroot",
}
"""How the name of such a scenario begins -> what the probe has to say that it is confined by."""
ALONE: dict[str, Callable[[], AbstractContextManager[list[str]]]] = {
    "user.max_user_namespaces=0": partial(_sysctl, "user.max_user_namespaces", "0"),
    "kernel.unprivileged_userns_clone=0": partial(_sysctl, "kernel.unprivileged_userns_clone", "0"),
}
"""What changes the whole machine."""
FREE: dict[str, Callable[[], AbstractContextManager[list[str]]]] = {"plain": _prefix, "--try-runtime": _prefix}
SCENARIOS = FREE | CONFINED | ALONE
"""Name -> what is around the command; the table shows them in this order."""
