"""What a container runtime does inside the namespaces of a Pod, step by step, as root of a user namespace.

Nothing that the running kernel does not know already is asked for: mount(2) of an unknown type and RTM_NEWLINK of an
unknown kind make the kernel load a module, even for callers in a user namespace of their own.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Literal

from msgspec import Struct

from probe.host import syscalls
from probe.host.sandbox.links import LO, Links

BASE = "/proc"
"""Where the first mount goes: a directory that surely exists. Only the trial's own mount namespace sees it covered."""

_PRIVATE = syscalls.MS_NOSUID | syscalls.MS_NOEXEC | syscalls.MS_NODEV  # as in the OCI runtimes' default specifications
_CGROUP_FLAGS = ("rw", "ro", "release_agent=")  # what a user namespace may not set, or sets by mount flags


class StepAnswer(Struct, frozen=True):
    """How one step went."""

    name: str
    outcome: Literal["done", "failed", "absent", "not-reached"]
    """`absent`: the kernel does not know it now; `not-reached`: an earlier step that it needs was not done."""
    error: int = 0
    seconds: float = 0.0
    detail: str = ""
    """Of the user namespace: the call that failed."""


class Node(Struct, frozen=True, kw_only=True):
    """What the steps need to know of the node, read while it is in sight."""

    own_proc: int
    """Descriptor of the /proc of the probe's own PID namespace."""
    filesystems: dict[str, bool]
    """The types that the kernel knows now, and whether each needs a block device."""
    cgroup: tuple[str, str] | None
    """Type and options of the mount that a runtime gives to containers."""


class UnknownToKernelError(Exception):
    """The kernel does not know it now, and would load a module if asked."""


class Step(Struct, frozen=True):
    """One thing to do, when what it needs was done."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[Sandbox], None]


class Sandbox:
    """The steps of the first process of a sandbox, sharing one tmpfs and one netlink socket."""

    def __init__(self, node: Node, codec: Any) -> None:
        """*codec* is what `load_codec` returns."""
        self._node = node
        self._codec = codec

    @cached_property
    def _links(self) -> Links:
        """Of the network namespace in which it is first asked for."""
        return Links(self._codec)

    def be_first(self) -> None:
        """The runtime's init is process 1 of its namespace."""
        if os.getpid() != 1:
            raise OSError(errno.ECHILD, os.strerror(errno.ECHILD))

    def detach_mounts(self) -> None:
        """Slave: what the node unmounts goes from here as well, and nothing of ours reaches the node."""
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)

    def mount_tmpfs(self) -> None:
        self._demand("tmpfs")
        syscalls.mount("tmpfs", BASE, "tmpfs", syscalls.MS_NOSUID, "mode=755,size=64k")

    def mount_proc(self) -> None:
        self._mount("proc", "proc", _PRIVATE)

    def mount_sysfs(self) -> None:
        self._mount("sysfs", "sysfs", _PRIVATE | syscalls.MS_RDONLY)

    def mount_sysfs_writable(self) -> None:
        self._mount("writable-sysfs", "sysfs", _PRIVATE)

    def mount_mqueue(self) -> None:
        self._mount("mqueue", "mqueue", _PRIVATE)

    def mount_devpts(self) -> None:
        options = "newinstance,ptmxmode=0666,mode=0620,gid=5"
        self._mount("devpts", "devpts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, options)

    def mount_cgroup(self) -> None:
        if self._node.cgroup is None:
            raise UnknownToKernelError("cgroup")
        fstype, options = self._node.cgroup
        self._mount("cgroup", fstype, _PRIVATE | syscalls.MS_RDONLY, options)

    def mount_overlay(self) -> None:
        self._demand("overlay")
        for name in ("lower", "upper", "work"):
            os.mkdir(f"{BASE}/{name}")
        options = f"lowerdir={BASE}/lower,upperdir={BASE}/upper,workdir={BASE}/work,userxattr"
        self._mount("overlay", "overlay", 0, options)

    def set_hostname(self) -> None:
        socket.sethostname("pod")

    def raise_lo(self) -> None:
        self._links.raise_link(LO)

    def make_veth(self) -> None:
        """A pair with one end here and one in a second network namespace made for it; it goes with either of them."""
        if not self._links.knows_kind("veth"):
            raise UnknownToKernelError("veth")
        syscalls.unshare(syscalls.CLONE_NEWNET)
        self._links.add_veth("eth0", os.open("self/ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._node.own_proc))

    def refuse_mknod(self) -> None:
        """The device is /dev/null; a whiteout (0:0) would be allowed."""
        _demand_eperm(lambda: os.mknod(f"{BASE}/null", stat.S_IFCHR | 0o600, os.makedev(1, 3)))

    def refuse_block_filesystem(self) -> None:
        """The kernel judges the right to mount such a type before it looks for the device, so none is touched."""
        blocks = (name for name, block in self._node.filesystems.items() if block and name != "fuseblk")
        fstype = next(blocks, None)
        if fstype is None:
            raise UnknownToKernelError("file system on a block device")
        os.mkdir(f"{BASE}/block")
        _demand_eperm(lambda: syscalls.mount("none", f"{BASE}/block", fstype, _PRIVATE | syscalls.MS_RDONLY))

    def _mount(self, name: str, fstype: str, flags: int, options: str = "") -> None:
        self._demand(fstype)
        os.mkdir(f"{BASE}/{name}")  # a directory each: a second mount of one superblock on the same is EBUSY
        syscalls.mount(fstype, f"{BASE}/{name}", fstype, flags, options)

    def _demand(self, fstype: str) -> None:
        if fstype not in self._node.filesystems:
            raise UnknownToKernelError(fstype)


INSIDE: tuple[Step, ...] = (
    Step("first process", ("pid namespace",), Sandbox.be_first),
    Step("mount propagation", ("mount namespace",), Sandbox.detach_mounts),
    Step("tmpfs", ("mount propagation",), Sandbox.mount_tmpfs),
    Step("proc", ("tmpfs", "first process"), Sandbox.mount_proc),
    # Writable first: the trial's own read-only one would count as a visible sysfs, and allow it.
    Step("writable sysfs", ("tmpfs", "net namespace"), Sandbox.mount_sysfs_writable),
    Step("sysfs", ("tmpfs", "net namespace"), Sandbox.mount_sysfs),
    Step("mqueue", ("tmpfs", "ipc namespace"), Sandbox.mount_mqueue),
    Step("devpts", ("tmpfs",), Sandbox.mount_devpts),
    Step("cgroup", ("tmpfs", "cgroup namespace"), Sandbox.mount_cgroup),
    Step("overlay", ("tmpfs",), Sandbox.mount_overlay),
    Step("hostname", ("uts namespace",), Sandbox.set_hostname),
    Step("mknod", ("tmpfs",), Sandbox.refuse_mknod),
    Step("block file system", ("tmpfs",), Sandbox.refuse_block_filesystem),
    # Last: only these may have to wait for others on the node, who hold the kernel's one lock of network links.
    Step("lo", ("net namespace",), Sandbox.raise_lo),
    Step("veth", ("lo",), Sandbox.make_veth),
)
"""What the first process does, in this order."""


def run_step(name: str, needs: tuple[str, ...], done: set[str], run: Callable[[], None]) -> StepAnswer:
    """Run one step if all that it needs is in *done*, and put it there when it worked."""
    if not done.issuperset(needs):
        return StepAnswer(name, "not-reached")
    started = time.perf_counter()
    outcome: Literal["done", "failed", "absent"] = "done"
    error = 0
    try:
        run()
        done.add(name)
    except UnknownToKernelError:
        outcome = "absent"
    except NotRefusedError as control:
        outcome, error = "failed", control.error
    except OSError as problem:
        outcome, error = "failed", problem.errno or errno.EIO
    return StepAnswer(name, outcome, error, round(time.perf_counter() - started, 6))


def parse_filesystems(text: str) -> dict[str, bool]:
    """proc_filesystems(5): type -> whether it needs a block device."""
    rows = (line.split() for line in text.splitlines())
    return {row[-1]: row[0] != "nodev" or len(row) == 1 for row in rows if row}


def parse_cgroup(mountinfo: Iterable[bytes]) -> tuple[str, str] | None:
    """Type and options of the cgroup mount that a runtime would make; None when nothing of the kind is mounted.

    A node whose /sys/fs/cgroup is cgroup2 has that one; on others each hierarchy of version 1 stands for all. Lines
    are read up to the one that decides.
    """
    first: tuple[str, str] | None = None
    for line in mountinfo:
        if b" - cgroup" not in line:
            continue
        mount, _, filesystem = line.rstrip(b"\n").decode(errors="replace").partition(" - ")
        places, kinds = mount.split(" "), filesystem.split(" ")
        if len(places) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2" and places[4] == "/sys/fs/cgroup":
            return "cgroup2", ""
        if kinds[0] == "cgroup" and first is None:
            options = (option for option in kinds[2].split(",") if not option.startswith(_CGROUP_FLAGS))
            first = "cgroup", ",".join(options)
    return first


class NotRefusedError(Exception):
    """A control was allowed (0), or failed for another reason than a lack of permission."""

    def __init__(self, error: int) -> None:
        super().__init__(error)
        self.error = error


def _demand_eperm(call: Callable[[], None]) -> None:
    try:
        call()
    except PermissionError as error:
        if error.errno == errno.EPERM:
            return
        raise NotRefusedError(error.errno or errno.EIO) from error
    except OSError as error:
        raise NotRefusedError(error.errno or errno.EIO) from error
    raise NotRefusedError(0)
