"""Steps of a container runtime inside the namespaces of a Pod, run as root of a user namespace.

The steps use only file systems and link kinds that the kernel knows already: mount(2) of an unknown type and
RTM_NEWLINK of an unknown kind make the kernel load a module, even for callers in another user namespace.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec import Struct

from probe.host import syscalls
from probe.host.sandbox.links import LO, Links

BASE = "/proc"
"""Mount point of the first mount: a directory that always exists. Only the trial's mount namespace sees the mount."""

_PRIVATE = syscalls.MS_NOSUID | syscalls.MS_NOEXEC | syscalls.MS_NODEV  # as in the OCI runtimes' default specifications


class StepAnswer(Struct, frozen=True):
    """Result of one step."""

    name: str
    outcome: Literal["done", "failed", "absent", "not-reached"]
    """`absent`: the kernel lacks the feature now; `not-reached`: a step that this one needs was not done."""
    error: int = 0
    seconds: float = 0.0
    detail: str = ""
    """Name of the failed call, for the user namespace step only."""


ANSWERS = msgspec.json.Decoder(StepAnswer)
"""Made once, before the processes of a trial are forked: in each of them it would learn the type anew."""


class Node(Struct, frozen=True, kw_only=True):
    """Facts of the node that the steps need, read before its files become invisible."""

    own_proc: int
    """Descriptor of the /proc of the probe's own PID namespace."""
    filesystems: dict[str, bool]
    """File system type that the kernel knows now -> True when it needs a block device."""
    cgroup: tuple[str, str] | None
    """Type and options of the cgroup mount that a runtime gives to containers."""


class UnknownToKernelError(Exception):
    """The kernel lacks the feature now, and would load a module for it."""


class Step(Struct, frozen=True):
    """One step; it runs only after all steps that it needs were done."""

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
        """Netlink socket in the network namespace of the first call."""
        return Links(self._codec)

    def be_first(self) -> None:
        """Fail unless the caller is process 1 of its PID namespace, as the runtime's init is."""
        if os.getpid() != 1:
            raise OSError(errno.ECHILD, os.strerror(errno.ECHILD))

    def detach_mounts(self) -> None:
        """Set propagation to slave: unmounts on the node reach the trial, and its mounts never reach the node."""
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)

    def mount_tmpfs(self) -> None:
        self._demand("tmpfs")
        syscalls.mount("tmpfs", BASE, "tmpfs", syscalls.MS_NOSUID, "mode=755,size=64k")

    def mount_proc(self) -> None:
        self._mount("proc", "proc", _PRIVATE)  # as runtimes do: a filter may forbid fsopen(2) to the probe alone

    def mount_sysfs(self) -> None:
        self._mount("sysfs", "sysfs", _PRIVATE | syscalls.MS_RDONLY)

    def mount_sysfs_writable(self) -> None:
        self._demand("sysfs")
        os.mkdir(f"{BASE}/writable-sysfs")
        syscalls.mount_quietly("sysfs", f"{BASE}/writable-sysfs", _PRIVATE)  # most nodes refuse it, at each probe

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
        """Add a veth pair to a second, new network namespace; the pair ends with either namespace."""
        if not self._links.knows_kind("veth"):
            raise UnknownToKernelError("veth")
        syscalls.unshare(syscalls.CLONE_NEWNET)
        self._links.add_veth("eth0", os.open("self/ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._node.own_proc))

    def refuse_mknod(self) -> None:
        """Control: mknod(2) of a device like /dev/null is refused; a whiteout (0:0) would be allowed."""
        _demand_eperm(lambda: os.mknod(f"{BASE}/null", stat.S_IFCHR | 0o600, os.makedev(1, 3)))

    def refuse_block_filesystem(self) -> None:
        """Control: mount(2) of a block file system is refused before the kernel looks up the device."""
        blocks = (name for name, block in self._node.filesystems.items() if block and name != "fuseblk")
        fstype = next(blocks, None)
        if fstype is None:
            raise UnknownToKernelError("file system on a block device")
        os.mkdir(f"{BASE}/block")
        _demand_eperm(lambda: syscalls.mount("none", f"{BASE}/block", fstype, _PRIVATE | syscalls.MS_RDONLY))

    def _mount(self, name: str, fstype: str, flags: int, options: str = "") -> None:
        self._demand(fstype)
        os.mkdir(f"{BASE}/{name}")  # a directory each: a second mount of one superblock on the same directory is EBUSY
        syscalls.mount(fstype, f"{BASE}/{name}", fstype, flags, options)

    def _demand(self, fstype: str) -> None:
        if fstype not in self._node.filesystems:
            raise UnknownToKernelError(fstype)


INSIDE: tuple[Step, ...] = (
    Step("first process", ("pid namespace",), Sandbox.be_first),
    Step("mount propagation", ("mount namespace",), Sandbox.detach_mounts),
    Step("tmpfs", ("mount propagation",), Sandbox.mount_tmpfs),
    Step("proc", ("tmpfs", "first process"), Sandbox.mount_proc),
    # Writable first: the trial's own read-only sysfs would count as a visible one and allow it.
    Step("writable sysfs", ("tmpfs", "net namespace"), Sandbox.mount_sysfs_writable),
    Step("sysfs", ("tmpfs", "net namespace"), Sandbox.mount_sysfs),
    Step("mqueue", ("tmpfs", "ipc namespace"), Sandbox.mount_mqueue),
    Step("devpts", ("tmpfs",), Sandbox.mount_devpts),
    Step("cgroup", ("tmpfs", "cgroup namespace"), Sandbox.mount_cgroup),
    Step("overlay", ("tmpfs",), Sandbox.mount_overlay),
    Step("hostname", ("uts namespace",), Sandbox.set_hostname),
    Step("mknod", ("tmpfs",), Sandbox.refuse_mknod),
    Step("block file system", ("tmpfs",), Sandbox.refuse_block_filesystem),
    # Last: these may wait for the kernel's global lock of network links (RTNL).
    Step("lo", ("net namespace",), Sandbox.raise_lo),
    Step("veth", ("lo",), Sandbox.make_veth),
)
"""Steps of process 1, in this order."""


def run_step(name: str, needs: tuple[str, ...], done: set[str], run: Callable[[], None]) -> StepAnswer:
    """Run one step if *done* contains all of *needs*; add *name* to *done* on success."""
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
    """proc_filesystems(5) as type -> True when it needs a block device."""
    rows = (line.split() for line in text.splitlines())
    return {row[-1]: row[0] != "nodev" or len(row) == 1 for row in rows if row}


class NotRefusedError(Exception):
    """A control call succeeded (0) or failed with another errno than EPERM."""

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
