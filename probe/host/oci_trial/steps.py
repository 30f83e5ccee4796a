"""Steps of process 1 of the OCI runtime trial, and their results."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import msgspec
from msgspec import Struct

from probe.host.idmap import enter_own_mount_namespace
from probe.host.mountinfo import parse_mountinfo
from probe.host.oci_trial import SOURCE
from probe.host.oci_trial.bundle import (
    BUNDLES,
    DESTINATIONS,
    Bundle,
    choose_place,
    is_unbindable,
    lay_out,
    mount_own_proc,
    protect_cgroup_root,
    write_config,
)
from probe.host.oci_trial.cgroup import remove_cgroups
from probe.host.program import execute, open_trusted
from probe.reading import Reading

TIDY_UP = 1.0
"""Seconds for the kernel to end the container's processes."""

_SAID_LIMIT = 1 << 12  # bytes of what the runtime printed, from the end
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class TrialPlan(Struct, frozen=True, kw_only=True):
    """Plan of the trial."""

    binary: str
    """Path of the OCI runtime."""
    kubelet_root: str
    """The directory with the Pods' files, without symlinks."""
    proc_covered: bool = False
    """True when the node's mount table forbids a new /proc in containers."""


class Command(Struct, frozen=True):
    """One run of the runtime."""

    bundle: str
    status: int
    """Exit status, or the signal that ended it as a negative number."""
    said: str
    """The end of what it printed."""
    seconds: float


class Bind(Struct, frozen=True):
    """A bind mount of the container."""

    name: str
    mounted: bool
    idmapped: bool
    """True when mountinfo shows an idmapped mount."""
    owner: int = -1
    """Of its source, on the node."""
    owner_inside: int = -1
    """The same through the root of the container's process, seen from the node."""


class TrialAnswer(Struct, frozen=True, kw_only=True):
    """Results of the trial so far; empty for steps not reached."""

    under_way: str = "preparation"
    """The step that had begun last; empty at the end."""
    cut_short: Literal["", "timed-out", "not-readable"] = ""
    """That step did not answer in time, or the trial's process ended in it."""
    obstacle: Reading[bool] | None = None
    """Reason why the runtime was not run, or could not be inspected."""
    creates: tuple[Command, ...] = ()
    """`create` of the bundles in their order, until one of them worked."""
    uid_map: tuple[int, ...] = ()
    gid_map: tuple[int, ...] = ()
    binds: tuple[Bind, ...] = ()
    delete: Command | None = None
    gone: bool = False
    """True when the process of the container has ended."""
    seconds: float = 0.0


class Trial:
    """Process 1 of the trial's PID namespace: each step is told before it is begun, as none of them may come back."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._answer = TrialAnswer()
        self._began = time.perf_counter()
        self._binary = -1
        self._argv0 = ""
        self._place = ""

    def run(self, plan: TrialPlan) -> None:
        """All steps, in the child that is process 1 of a new PID namespace."""
        try:
            sources = self._prepare(plan)
            if self._create(sources) == BUNDLES[0]:
                pid = self._inspect(sources)
                self._delete(pid)
            self._tell(under_way="")
        except OSError as error:
            self._tell(obstacle=Reading.from_error(f"{SOURCE}, {self._answer.under_way}", error))
        except ValueError as error:
            problem: Reading[bool] = Reading.without(SOURCE, "not-readable", str(error)[:300])
            self._tell(obstacle=problem)

    def _tell(self, **news: object) -> None:
        seconds = round(time.perf_counter() - self._began, 6)
        self._answer = msgspec.structs.replace(self._answer, seconds=seconds, **news)
        self._write(msgspec.json.encode(self._answer) + b"\n")

    def _prepare(self, plan: TrialPlan) -> dict[str, str]:
        if os.getpid() != 1:
            raise OSError(errno.ECHILD, os.strerror(errno.ECHILD))
        os.umask(0o022)
        unbindable = is_unbindable(plan.kubelet_root)
        enter_own_mount_namespace()
        self._argv0 = os.path.realpath(plan.binary, strict=True)
        self._binary = open_trusted(self._argv0)
        self._place = choose_place(self._argv0, plan.kubelet_root)
        sources = lay_out(self._place, plan.kubelet_root, unbindable)
        mount_own_proc(self._place, plan.proc_covered)
        protect_cgroup_root(self._place)
        return sources

    def _create(self, sources: dict[str, str]) -> Bundle | None:
        """Create the containers in their order until one can be made."""
        for bundle in BUNDLES:
            self._tell(under_way="create")
            write_config(self._place, bundle, sources)
            command = self._run(bundle, "create", "--bundle", self._place, "--pid-file", f"{self._place}/pid")
            self._tell(creates=(*self._answer.creates, command))
            if not command.status:
                return bundle
            if command.status < 0 or not remove_cgroups(TIDY_UP):  # the next would meet what is left of this one
                break
        return None

    def _inspect(self, sources: dict[str, str]) -> int:
        """Look at the container's process from outside; its pid."""
        self._tell(under_way="maps")
        pid = _read_pid(f"{self._place}/pid")
        self._tell(uid_map=read_map(pid, "uid_map"), gid_map=read_map(pid, "gid_map"))
        self._tell(under_way="idmapped binds")
        options = read_mount_options(pid)
        binds = [
            Bind(name, destination in options, "idmapped" in options.get(destination, ()))
            for name, destination in DESTINATIONS.items()
        ]
        self._tell(binds=tuple(binds))
        self._tell(under_way="owners")
        for number, bind in enumerate(binds):
            owner = os.stat(sources[bind.name]).st_uid
            inside = os.stat(f"/proc/{pid}/root{DESTINATIONS[bind.name]}").st_uid
            binds[number] = msgspec.structs.replace(bind, owner=owner, owner_inside=inside)
        self._tell(binds=tuple(binds))
        return pid

    def _delete(self, pid: int) -> None:
        self._tell(under_way="delete")
        command = self._run(BUNDLES[0], "delete", "--force")
        deadline = time.monotonic() + TIDY_UP
        while not (gone := not os.path.exists(f"/proc/{pid}")) and time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            time.sleep(0.001)
        self._tell(delete=command, gone=gone)

    def _run(self, bundle: Bundle, *arguments: str) -> Command:
        """Run the runtime on that container, and reap processes that end meanwhile: it waits for its end."""
        number = BUNDLES.index(bundle)
        # A file and no pipe: the container's process keeps it open. What does not fit on that tmpfs is lost.
        log = os.open(f"{self._place}/said/{arguments[0]}-{number}", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        options = ("--root", f"{self._place}/state", "--log-format", "json")
        began = time.perf_counter()
        child = os.fork()
        if child == 0:
            self._become_runtime(log, (self._argv0, *options, *arguments, f"{SOURCE.replace(' ', '-')}-{number}"))
        pid, status = 0, 0
        while pid != child:
            pid, status = os.waitpid(-1, 0)
        seconds = round(time.perf_counter() - began, 6)
        said = os.pread(log, _SAID_LIMIT, max(0, os.fstat(log).st_size - _SAID_LIMIT))
        os.close(log)
        return Command(bundle.name, os.waitstatus_to_exitcode(status), said.decode(errors="replace"), seconds)

    def _become_runtime(self, log: int, argv: tuple[str, ...]) -> None:
        """By the descriptor that was judged."""
        try:
            os.setsid()
            for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            # No /dev/null: crun before 1.24 gives the file on stdin to the container, and so the node's own device.
            empty = os.open(f"{self._place}/said/nothing", os.O_RDONLY | os.O_CREAT, 0o600)
            for source, target in ((empty, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            for name in os.listdir("/proc/self/fd"):  # what whoever started the probe left open
                with suppress(OSError):
                    os.set_inheritable(int(name), int(name) < 3)
            os.chdir("/")
            execute(self._binary, argv, _ENVIRONMENT)
        except OSError as error:
            os.write(2, f"cannot be run: {error.strerror}".encode())
        finally:
            os._exit(126)


def _read_pid(path: str) -> int:
    """Pid in the pid file of the runtime: a process of the trial's own PID namespace other than process 1."""
    try:
        with open(path) as file:
            words = file.read(32)
    except FileNotFoundError:
        raise ValueError("it reports a container but names no process of it") from None
    if not words.isdecimal() or int(words) < 2:
        raise ValueError(f"it names {words[:20]!r} as the process of the container")
    return int(words)


def read_map(pid: int, name: str) -> tuple[int, ...]:
    """uid_map or gid_map as numbers, line after line. *Source*: user_namespaces(7)."""
    with open(f"/proc/{pid}/{name}") as file:
        return tuple(int(number) for number in file.read(1 << 16).split())


def read_mount_options(pid: int) -> dict[str, tuple[str, ...]]:
    """Options of each mount of a process by its mount point; of a stack those of the topmost.

    *Errors*: ValueError for a table that is not whole.
    """
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        return {mount.mount_point: mount.options for mount in parse_mountinfo(file.read(1 << 20))}
