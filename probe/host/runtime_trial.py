"""The node's own OCI runtime, tried out: it creates a container, which is looked at from outside and deleted.

The container is never started, so nothing runs in it but the runtime's own init, which waits. It is the one program of
the node that is run as root with all capabilities, as the container runtime does many times an hour; that is why this
is done on request only. All of it lives in a mount namespace and a PID namespace of its own: when process 1 there ends,
which it does with whoever wanted the answer, the kernel ends the rest. What SIGKILL can leave behind is an empty cgroup.
"""

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

from probe.host import syscalls
from probe.host.child import Child, ChildError
from probe.host.idmap import enter_own_mount_namespace
from probe.host.program import Untrusted, open_trusted
from probe.host.runtime_trial_bundle import (
    BUNDLES,
    DESTINATIONS,
    Bundle,
    choose_place,
    lay_out,
    mount_own_proc,
    protect_cgroup_root,
    remove_cgroups,
    sole_trial,
    sweep_trial_cgroups,
    write_config,
)
from probe.reading import Reading

__all__ = ("SOURCE", "TrialAnswer", "TrialPlan", "sweep_trial_cgroups", "try_runtime")

SOURCE = "runtime trial"
PATIENCE = 4.0
"""Seconds that one command of the runtime may take; it takes a twentieth of one."""

_ANSWER_LIMIT = 1 << 18
_SAID_LIMIT = 1 << 12  # bytes of what the runtime printed, from the end
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_INITIAL_CGROUP_NAMESPACE = "cgroup:[4026531835]"  # PROC_CGROUP_INIT_INO of the kernel
_TIDY_UP = 1.0  # seconds for the kernel to end the container's processes


class TrialPlan(Struct, frozen=True, kw_only=True):
    """What is to be tried."""

    binary: str
    """Path of the OCI runtime."""
    kubelet_root: str
    """The directory with the Pods' files, without symlinks."""
    proc_covered: bool = False
    """Whether the node's mount table forbids a new /proc to containers."""


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
    """Whether mountinfo says so."""
    owner: int
    """Of its source, on the node."""
    owner_inside: int
    """The same through the root of the container's process, seen from the node."""


class TrialAnswer(Struct, frozen=True, kw_only=True):
    """How far the trial came; what was not reached is empty."""

    under_way: str = "preparation"
    """The step that had begun last; empty at the end."""
    cut_short: Literal["", "timed-out", "not-readable"] = ""
    """That step did not answer in time, or the trial's process ended in it."""
    obstacle: Reading[bool] | None = None
    """Why the runtime was not asked at all, or could not be looked at."""
    creates: tuple[Command, ...] = ()
    """`create` of the bundles in their order, until one of them worked."""
    uid_map: tuple[int, ...] = ()
    gid_map: tuple[int, ...] = ()
    binds: tuple[Bind, ...] = ()
    delete: Command | None = None
    gone: bool = False
    """Whether the container's process has ended."""
    seconds: float = 0.0


def try_runtime(plan: TrialPlan, enter: Callable[[], object], deadline: float) -> Reading[TrialAnswer]:
    """What the runtime did by *deadline* (time.monotonic()), tried by a child that *enter* brings to the runtime.

    *enter* moves the child into the mount namespace in which containers are made, or hands back a Reading with a
    problem, or raises OSError.
    """
    last_line = deadline - PATIENCE - 2 * _TIDY_UP
    if time.monotonic() > last_line:
        return Reading.without(SOURCE, "not-tried", "too little time was left for it")
    with Child(lambda write: write(_trial_child(plan, enter, last_line))) as child:
        try:
            return Reading(SOURCE, msgspec.json.decode(child.read(deadline, _ANSWER_LIMIT), type=TrialAnswer))
        except TimeoutError:
            return Reading.without(SOURCE, "timed-out", "no answer in time")
        except (ChildError, msgspec.DecodeError) as error:
            return Reading.without(SOURCE, "not-readable", f"its process ended without an answer: {error}")


def _trial_child(plan: TrialPlan, enter: Callable[[], object], last_line: float) -> bytes:
    """The life of the process that enters the node; it is the parent of process 1 of the trial."""
    step = "entering the node"
    try:
        entered = enter()
        if isinstance(entered, Reading) and entered.kind:
            return msgspec.json.encode(TrialAnswer(obstacle=entered))
        step = "/proc/1/ns/cgroup"
        _join_cgroup_namespace()
        step = "cgroup of the trial"
        with sole_trial() as alone:
            if not alone:
                return _hindered("not-tried", "another trial is under way on this node")
            if not remove_cgroups(0.0):
                return _hindered("not-tried", "a cgroup of that name is in use, and is left alone")
            step = "PID namespace"
            syscalls.unshare(syscalls.CLONE_NEWPID)
            answer = _watch(plan, last_line)
            remove_cgroups(_TIDY_UP)
            return msgspec.json.encode(answer)
    except OSError as error:
        return msgspec.json.encode(TrialAnswer(obstacle=Reading.from_error(step, error)))


def _hindered(kind: Literal["not-tried"], problem: str) -> bytes:
    return msgspec.json.encode(TrialAnswer(obstacle=Reading.without(SOURCE, kind, problem)))


def _join_cgroup_namespace() -> None:
    """Paths of cgroups are relative to a namespace, and the probe's own may be that of a container."""
    own = os.readlink("/proc/self/ns/cgroup")
    try:
        if os.readlink("/proc/1/ns/cgroup") == own:
            return
    except PermissionError:
        if own == _INITIAL_CGROUP_NAMESPACE:
            return
        raise
    namespace = os.open("/proc/1/ns/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(namespace, syscalls.CLONE_NEWCGROUP)
    os.close(namespace)


def _watch(plan: TrialPlan, last_line: float) -> TrialAnswer:
    """The last that process 1 of the trial tells, before it ends or is ended."""
    answer, cut_short = TrialAnswer(), ""
    try:
        with Child(lambda write: _Trial(write).run(plan)) as first:
            for line in first.lines(PATIENCE, limit=8 << 20):
                answer = msgspec.json.decode(line, type=TrialAnswer)
                if answer.under_way and time.monotonic() > last_line:
                    raise TimeoutError
    except TimeoutError:
        cut_short = "timed-out"
    except (ChildError, msgspec.DecodeError):
        cut_short = "not-readable"
    if answer.under_way and not answer.obstacle:
        return msgspec.structs.replace(answer, cut_short=cut_short or "not-readable")
    return answer


class _Trial:
    """Process 1 of the trial's PID namespace: each step is told before it is begun, as none of them may come back."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._answer = TrialAnswer()
        self._began = time.perf_counter()
        self._binary = -1
        self._argv0 = ""
        self._place = ""

    def run(self, plan: TrialPlan) -> None:
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
        enter_own_mount_namespace()
        self._argv0 = os.path.realpath(plan.binary, strict=True)
        self._binary = open_trusted(self._argv0)
        self._place = choose_place(self._argv0, plan.kubelet_root)
        sources = lay_out(self._place, plan.kubelet_root)
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
            if command.status < 0 or not remove_cgroups(_TIDY_UP):  # the next would meet what is left of this one
                break
        return None

    def _inspect(self, sources: dict[str, str]) -> int:
        """Look at the container's process from outside; its pid."""
        self._tell(under_way="maps")
        with open(f"{self._place}/pid") as file:
            pid = int(file.read(32))
        if pid < 2:
            raise ValueError(f"the runtime names {pid} as the container's process")
        self._tell(uid_map=_read_map(pid, "uid_map"), gid_map=_read_map(pid, "gid_map"))
        self._tell(under_way="idmapped binds")
        options = _read_mount_options(pid)
        self._tell(under_way="owners")
        binds = tuple(
            Bind(
                name,
                destination in options,
                "idmapped" in options.get(destination, ()),
                os.stat(sources[name]).st_uid,
                os.stat(f"/proc/{pid}/root{destination}").st_uid,
            )
            for name, destination in DESTINATIONS.items()
        )
        self._tell(binds=binds)
        return pid

    def _delete(self, pid: int) -> None:
        self._tell(under_way="delete")
        command = self._run(BUNDLES[0], "delete", "--force")
        deadline = time.monotonic() + _TIDY_UP
        while not (gone := not os.path.exists(f"/proc/{pid}")) and time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            time.sleep(0.001)
        self._tell(delete=command, gone=gone)

    def _run(self, bundle: Bundle, *arguments: str) -> Command:
        """Run the runtime on that container, and bury whoever ends meanwhile: it waits for its container to vanish."""
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
        """By the descriptor that was judged; the kernel hands a script to its interpreter by path only."""
        try:
            os.setsid()
            for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            null = os.open("/dev/null", os.O_RDONLY)
            for source, target in ((null, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            os.chdir("/")
            script = os.pread(self._binary, 2, 0) == b"#!"
            os.execve(self._argv0 if script else self._binary, argv, _ENVIRONMENT)
        except OSError as error:
            os.write(2, f"cannot be run: {error.strerror}".encode())
        finally:
            os._exit(126)


def _read_map(pid: int, name: str) -> tuple[int, ...]:
    """uid_map or gid_map as numbers, line after line. *Source*: user_namespaces(7)."""
    with open(f"/proc/{pid}/{name}") as file:
        return tuple(int(number) for number in file.read(1 << 16).split())


def _read_mount_options(pid: int) -> dict[str, tuple[str, ...]]:
    """Options of each mount of a process by its mount point; of a stack those of the topmost."""
    with open(f"/proc/{pid}/mountinfo", errors="replace") as file:
        lines = [line.split() for line in file.read(1 << 20).splitlines()]
    return {fields[4]: tuple(fields[5].split(",")) for fields in lines if len(fields) > 5}
