"""Interface to a node for facts: files, processes and programs.

Everything here may be missing, huge, hostile, or hang. The answer is a Reading: a value, or why there is none.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from probe.host.files import FileStatus
from probe.host.places import Place
from probe.host.processes import (
    HELPER_NAME,
    Process,
    in_container_of_node,
    in_pod_cgroup,
    is_stuck,
    parse_status,
)
from probe.host.program import Output
from probe.reading import Reading

FILE_LIMIT = 4 << 20
"""Bytes of a file that are read; a larger one is a problem, never a half truth."""
MOUNTINFO_LIMIT = 64 << 20
"""Bytes of a mount table that are read."""
LISTING_LIMIT = 20_000
"""Entries of a directory that are listed."""


class Host(ABC):
    """One node. A test double that leaves out a question cannot be made, so none reaches the machine of the tests."""

    own_proc = -1
    """Descriptor of a /proc that has all of the kernel's files; without one, those of the node's /proc are all."""
    deadline = math.inf
    """In seconds of time.monotonic(): from then on whatever does not answer at once is not waited for."""
    slowness = 1.0
    """Factor on all timeouts, from the budget."""
    meanwhile: Callable[[], object] | None = None
    """Work for once, for the time in which a program of the node runs. It may ask for the mount table alone."""

    @abstractmethod
    def read(self, path: str, limit: int = FILE_LIMIT) -> Reading[bytes]:
        """A regular file, whole. A larger, missing or hanging one, or anything but a file, is a problem."""

    def read_text(self, path: str, limit: int = FILE_LIMIT) -> Reading[str]:
        """The same as UTF-8; other bytes are a problem."""
        return self.read(path, limit).parse(lambda content: content.decode())

    def mountinfo(self, owner: int | str) -> Reading[bytes]:
        """The mount table of the process *owner*, a pid or `self`. *Source*: proc_pid_mountinfo(5)."""
        return self.read(f"/proc/{owner}/mountinfo", MOUNTINFO_LIMIT)

    @abstractmethod
    def read_beneath(self, directory: str, path: str, limit: int = FILE_LIMIT) -> Reading[bytes]:
        """A file at *path* below *directory*, where others choose the names: no symlink is followed (openat2)."""

    @abstractmethod
    def read_all_beneath(self, directory: str, paths: Sequence[str], limit: int = 1 << 16) -> dict[str, Reading[bytes]]:
        """The same for many small files, by one child; when it hangs, none of them was read."""

    @abstractmethod
    def read_sections(self, path: str) -> Reading[dict[str, str]]:
        """Texts of a unified kernel image by the name of their section: `.cmdline`, `.osrel`, `.uname`."""

    @abstractmethod
    def resolve(self, path: str, automounts: Sequence[str] = ()) -> Reading[str]:
        """The path without symlinks; absent when it does not exist. A way into one of *automounts* ends there."""

    @abstractmethod
    def read_link(self, path: str) -> Reading[str]:
        """Target of a symlink: `/proc/1/exe`, `/proc/1/ns/mnt`, or a file of the node."""

    @abstractmethod
    def list_directory(self, path: str) -> Reading[tuple[str, ...]]:
        """The names in a directory, sorted; symlinks on the way are followed."""

    @abstractmethod
    def status(self, path: str) -> Reading[FileStatus]:
        """stat(2) of *path*, symlinks followed."""

    @abstractmethod
    def places(self, owner: int | str, paths: Sequence[str]) -> dict[str, Reading[Place]]:
        """File at each absolute path in the mount namespace and root of the process *owner*, a pid or `self`.

        A hang leaves all unknown.
        """

    @abstractmethod
    def run(
        self, path: str, *arguments: str, environment: dict[str, str] | None = None, timeout: float = 3.0
    ) -> Reading[Output]:
        """Output of a program of this node; refused unless only root may write the program.

        *Shape*: exit status, stdout and stderr, both decoded. It runs without capabilities and with a clean
        environment; a program that hangs, is killed, or prints more than a mebibyte is a problem.
        """

    @abstractmethod
    def run_daemon(self, pid: int, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
        """Output of the executable of a running daemon of this node, even if replaced or deleted since.

        Refused unless `node_daemon` is true of the very process whose executable was opened, and root owns that file.
        """

    @abstractmethod
    def run_in(self, pid: int, path: str, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
        """Output of the program at *path* in the mount namespace and root of a daemon of this node.

        Refused unless `node_daemon` is true of that process; else as `run`.
        """

    @abstractmethod
    def try_sysctls(self, wanted: Mapping[str, str]) -> dict[str, Reading[str]]:
        """Outcome of setting each sysctl as a Pod with a user namespace would, in namespaces made for that alone.

        *Shape*: name -> the name of the errno, empty for one that could be set. `not-tried` for one that no namespace
        of a Pod has, and where nothing was learned.
        """

    def note(self, path: str) -> None:  # noqa: B027  # no other Host has anything to do
        """Look at *path*, which no method reads, if this Host records its sources."""

    @abstractmethod
    def processes(self) -> Reading[tuple[Process, ...]]:
        """Every process that this /proc shows, in the order of its pids; listed once for each probe.

        Only those of host UID 0 in no Pod have an argv here: whoever wrote the others may have made reading it hang.
        """

    @abstractmethod
    def started_at(self, pid: int) -> Reading[float]:
        """Start time of a process, in seconds since the epoch.

        Equal answers of one Host mean the same process, whatever becomes of the clock meanwhile.
        """

    @abstractmethod
    def init_hostname(self) -> Reading[str]:
        """Host name in the UTS namespace of process 1, whatever that of the caller is.

        *Errors*, as a problem: EPERM without CAP_SYS_ADMIN, EACCES without CAP_SYS_PTRACE. *Source*: setns(2).
        """

    def process_status(self, pid: int) -> Reading[dict[str, str]]:
        """The fields of proc_pid_status(5) by name: `Uid`, `CapEff`, `Seccomp`."""
        return self.read_text(f"/proc/{pid}/status").parse(parse_status)

    def environment(self, pid: int) -> Reading[bytes]:
        """proc_pid_environ(5), never `absent`: a process that lacks it has ended, and says nothing of its variables."""
        found = self.read(f"/proc/{pid}/environ")
        ended = found.kind == "absent"
        return Reading.without(found.source, "not-readable", "the process has ended") if ended else found

    def node_daemon(self, pid: int) -> Reading[bool]:
        """True when the process belongs to the node, not to a Pod that imitates a daemon.

        It does with UID 0, the PID namespace of process 1, its user namespace, and no Pod's cgroup. A privileged
        container of podman or docker counts as the node's own.
        """
        status, cgroup = self.process_status(pid), self.read_text(f"/proc/{pid}/cgroup")
        user_namespace = self.read_link(f"/proc/{pid}/ns/user")
        for reading in (status, cgroup, user_namespace):
            if reading.value is None:
                return Reading.without(reading.source, reading.kind or "not-readable", reading.problem)
        # NSpid has one number for the PID namespace that this /proc shows, and more for each one below it. Unlike
        # the links in /proc/1/ns it can be read without the right to trace process 1.
        fields = status.value or {}
        init = self.read_text("/proc/1/cgroup").value or ""
        return Reading(
            f"/proc/{pid}",
            set(fields["Uid"].split()) == {"0"}
            and len(fields.get("NSpid", "").split()) == 1
            and user_namespace.value == node_user_namespace(self)
            and (not in_pod_cgroup(cgroup.value or "", init) or in_container_of_node(cgroup.value or "", fields)),
        )

    def stuck_helpers(self, processes: Sequence[Process]) -> frozenset[str]:
        """Names, without their common beginning, of children of earlier probes that cannot even be killed.

        The process table is the only memory between probes: what such a child waits for is left alone.
        """
        helpers = [process for process in processes if process.name.startswith(HELPER_NAME)]
        return frozenset(
            process.name.removeprefix(HELPER_NAME)
            for process in helpers
            if self.process_status(process.pid).parse(is_stuck).value
        )


def node_user_namespace(host: Host) -> str | None:
    """Link to the user namespace of process 1 or, without the right to read it, to our own."""
    return host.read_link("/proc/1/ns/user").value or host.read_link("/proc/self/ns/user").value
