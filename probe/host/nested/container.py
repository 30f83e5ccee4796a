"""The first process of a container in the Pod, and the processes that it starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from probe.host import syscalls
from probe.host.nested.inside import Rootful, Rootless
from probe.host.nested.network import Network
from probe.host.nested.pod import VOLUME, Devices, enter_root, mask, open_device
from probe.host.nested.processes import MORE, TIMEOUT, Task, Write, available, unshare_and_run, write_answer
from probe.host.sandbox.steps import StepAnswer, run_step

FULL_MAP = "0 0 65536"
ROOTLESS_MAP = "0 1000 1\n1 1001 64535"
"""Map of a rootless engine of UID 1000 whose subordinate IDs lie in the Pod's own 65536."""
USER = 1000


class Container:
    """The first process of a container in the Pod, and the processes that it starts."""

    def __init__(
        self,
        filesystems: dict[str, bool],
        codec: Any,
        knows_module: Callable[[str], bool],
        minors: frozenset[int],
        volume: int,
        done: set[str],
    ) -> None:
        self._filesystems = filesystems
        self._minors = minors
        self._volume = volume
        self._done = done
        self._devices = Devices()
        self._network = Network(codec, self._devices, knows_module)
        self._userns_fd = -1

    def first_process(self, write: Write) -> None:
        """Write each answer as a line of JSON."""
        for answer in self._answers():
            write_answer(write, answer)

    def _answers(self) -> Iterator[StepAnswer]:
        yield self._step("/dev/fuse", ("pod namespaces",), self._open_fuse)
        yield self._step("/dev/net/tun", ("pod namespaces",), self._open_tun)
        yield self._step("private root", ("pod namespaces",), self._enter_root)
        if "private root" not in self._done:
            return
        yield from self._second_namespace("full", 0, FULL_MAP, self._unmasked())
        yield self._step("masks", ("private root",), mask)
        yield from self._second_namespace("rootless", USER, ROOTLESS_MAP, self._masked())
        yield from map(self._noted, self._rootful())  # after all others: this process forks none afterwards
        for task in self._network_tasks():  # last: these may wait for the kernel's global lock of network links
            yield self._step(task.name, task.needs, task.run)

    def _step(self, name: str, needs: tuple[str, ...], run: Callable[[], None]) -> StepAnswer:
        return run_step(name, needs, self._done, run)

    def _open_fuse(self) -> None:
        self._devices.fuse = open_device("/dev/fuse", self._minors)

    def _open_tun(self) -> None:
        self._devices.tun = open_device("/dev/net/tun", self._minors)

    def _enter_root(self) -> None:
        enter_root(self._volume, self._filesystems)
        for user in (0, USER):
            os.mkdir(f"{VOLUME}/{user}")
            os.chown(f"{VOLUME}/{user}", user, user)

    def _rootful(self) -> Iterator[StepAnswer]:
        """Answers of a process that stays in the Pod's user namespace, as those of a builder."""
        inner = Rootful(self._filesystems, self._devices, self._userns_fd)
        tasks = (
            Task("tmpfs", (), inner.mount_tmpfs),
            Task("proc", ("masks", "tmpfs"), inner.mount_proc),
            # Writable first: the trial's own read-only sysfs would count as a visible one.
            Task("writable sysfs", ("tmpfs",), inner.mount_sysfs_writable),
            Task("sysfs", ("tmpfs",), inner.mount_sysfs),
            Task("overlay", ("tmpfs",), inner.mount_overlay),
            Task("overlay files", ("overlay",), inner.use_overlay),
            Task("idmap of a volume", ("idmapped volume", "full map"), inner.map_volume_again),
            Task("idmap of a tmpfs", ("tmpfs", "full map"), inner.map_own_tmpfs),
            Task("fuse", ("/dev/fuse",), inner.mount_fuse),
            Task("keyring", (), inner.join_keyring),
            Task("pivot_root", ("proc",), inner.pivot_root),
        )
        return unshare_and_run("namespaces", tasks, self._done)

    def _unmasked(self) -> tuple[Task, ...]:
        inner = Rootless(self._filesystems, f"{VOLUME}/0")
        return (Task("unmasked tmpfs", (), inner.mount_tmpfs), Task("unmasked proc", (), inner.mount_proc))

    def _masked(self) -> tuple[Task, ...]:
        inner = Rootless(self._filesystems, f"{VOLUME}/{USER}")
        return (
            Task("rootless tmpfs", (), inner.mount_tmpfs),
            Task("rootless proc", ("masks", "rootless tmpfs"), inner.mount_proc),
            Task("rootless proc subset", ("masks", "rootless tmpfs"), inner.mount_proc_subset),
            Task("rootless overlay", ("rootless tmpfs",), inner.mount_overlay),
        )

    def _second_namespace(self, name: str, user: int, lines: str, tasks: tuple[Task, ...]) -> Iterator[StepAnswer]:
        """Answers of processes in a second user namespace, made by UID *user* and mapped by this process."""
        hold_read, hold_write = os.pipe()

        def first(write: Write) -> None:
            os.close(hold_write)
            answer = run_step(f"{name} user namespace", (), self._done, partial(_enter_second, user))
            write_answer(write, answer)
            if answer.outcome == "done" and os.read(hold_read, 1):
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
                for answer in unshare_and_run("", tasks, self._done):
                    write_answer(write, answer)

        try:
            for answer, pid in available(first, TIMEOUT + 2 * MORE):
                yield self._noted(answer)
                if answer.name == f"{name} user namespace" and answer.outcome == "done":
                    mapped = self._step(f"{name} map", (), partial(_write_maps, pid, lines))
                    yield mapped
                    if mapped.outcome == "done":
                        if self._userns_fd < 0:
                            self._userns_fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
                        os.write(hold_write, b"1")
                    os.close(hold_write)
                    hold_write = -1
        finally:
            for fd in (hold_read, hold_write):
                if fd >= 0:
                    os.close(fd)

    def _noted(self, answer: StepAnswer) -> StepAnswer:
        if answer.outcome == "done":
            self._done.add(answer.name)
        return answer

    def _network_tasks(self) -> tuple[Task, ...]:
        network, needs = self._network, ("private root",)
        return (
            Task("ip_forward", needs, partial(_unlocked, network.forward)),
            Task("ip_tables", needs, network.ask_ip_tables),
            Task("nat", needs, network.make_nat),
            Task("bridge", needs, network.make_bridge),
            Task("veth", needs, network.make_veth),
            Task("vxlan", needs, network.make_vxlan),
            Task("tun", ("/dev/net/tun",), network.make_tun),
        )


def _enter_second(user: int) -> None:
    """Enter a new user namespace as UID *user*, without capabilities unless that is 0."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # Else /proc/PID/uid_map belongs to root of the node, and the Pod's root is refused: EACCES.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    syscalls.unshare(syscalls.CLONE_NEWUSER)


def _write_maps(pid: int, lines: str) -> None:
    for name in ("uid_map", "gid_map"):
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, lines.encode())
        finally:
            os.close(fd)


def _unlocked(run: Callable[[], None]) -> None:
    """Run with /proc/sys writable, as an engine with CAP_SYS_ADMIN makes it: masks are no lock for the Pod's root."""
    syscalls.umount2("/proc/sys", syscalls.MNT_DETACH)
    run()
