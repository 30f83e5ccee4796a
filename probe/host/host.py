"""The node's files and processes, as they are once its mount namespace was entered.

Everything here may be missing, huge, hostile, or hang. What comes back is a Reading: a value, or why there is none.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import msgspec

from probe.host import files
from probe.host.abstract import FILE_LIMIT, LISTING_LIMIT, Host
from probe.host.child import DEFAULT_LIMIT, run_child
from probe.host.files import FileStatus
from probe.host.helper import Helper
from probe.host.kept_tables import KeptTables
from probe.host.namespaces import is_entered, read_hostname
from probe.host.operations import OPERATIONS, reading_of, run_daemon, run_inside
from probe.host.places import Place
from probe.host.processes import HELPER_NAME, Process, boot_time, start_time
from probe.host.program import Output
from probe.host.sysctls import attempt_sysctls, sysctl_path
from probe.reading import Reading

__all__ = ("FILE_LIMIT", "LISTING_LIMIT", "FileStatus", "Host", "LocalHost", "Process")

_RUN_LIMIT = 16 << 20  # of what a program printed, as JSON
_TIMEOUT = 2.0  # seconds for one file: a directory on a dead NFS server never answers
_TIMEOUT_FOR_ALL = 6.0  # seconds for all processes, of which each takes a tenth of a millisecond
_AT_ONCE = 0.1  # seconds for a file or a program when the time for all of them is over

_OF_A_PROCESS = ("root", "cwd", "exe", "fd", "task", "map_files")
"""Entries of /proc/PID that lead to other files."""
_WITHOUT_PROCESSES = re.compile(r"/proc/(?!self/|\d+/|net/|sys/net/)(?!.*\.\.)(.+)")
"""Files of /proc that say the same in each of its mounts, whatever the namespaces of the reader."""
_KERNEL_LINK = re.compile(r"/proc/(self|\d+)/(root|cwd|exe|ns/\w+)")


class LocalHost(Host):
    """The node on which this process runs."""

    _stuck: frozenset[str] = frozenset()
    _processes: Reading[tuple[Process, ...]] | None = None

    def close(self) -> None:
        """End the child that touches files; one that is stuck in the kernel is left behind."""
        self._helper.close()
        self._tables.close()

    @cached_property
    def _tables(self) -> KeptTables:
        return KeptTables()

    @cached_property
    def _helper(self) -> Helper:
        return Helper({**OPERATIONS, "run_daemon": partial(run_daemon, self)})

    def read(self, path: str, limit: int = FILE_LIMIT) -> Reading[bytes]:
        """As of Host."""
        if _is_kernel_file(path):
            reading = reading_of(path, lambda: files.read_file(files.open_path(path), limit))
            return self._read_own(path, limit) if reading.kind == "absent" and self.own_proc >= 0 else reading
        return reading_of(path, lambda: self._touch(path, "read_path", path, limit, limit=limit))

    def _read_own(self, path: str, limit: int) -> Reading[bytes]:
        """The same of `own_proc`: the node's /proc may show processes alone (proc(5), option `subset`)."""
        found = _WITHOUT_PROCESSES.fullmatch(path)
        place = f"/proc/self/fd/{self.own_proc}/{found[1]}" if found else path
        return reading_of(path, lambda: files.read_file(files.open_path(place), limit))

    def mountinfo(self, owner: int | str) -> Reading[bytes]:
        """The same; read again only after it has changed."""
        path = f"/proc/{owner}/mountinfo"
        return reading_of(path, lambda: self._tables.read(path))

    def read_beneath(self, directory: str, path: str, limit: int = FILE_LIMIT) -> Reading[bytes]:
        """As of Host."""
        source = f"{directory}/{path}"
        return reading_of(source, lambda: self._touch(source, "read_beneath", directory, path, limit, limit=limit))

    def read_all_beneath(self, directory: str, paths: Sequence[str], limit: int = 1 << 16) -> dict[str, Reading[bytes]]:
        """As of Host."""

        def contents() -> bytes:
            return self._touch(directory, "read_all_beneath", directory, tuple(paths), limit, limit=64 << 20)

        answer = reading_of(directory, contents)
        if answer.value is None:
            return {path: Reading(f"{directory}/{path}", None, answer.problem, answer.kind) for path in paths}
        return msgspec.json.decode(answer.value, type=dict[str, Reading[bytes]])

    def read_sections(self, path: str) -> Reading[dict[str, str]]:
        """As of Host."""
        answer = reading_of(path, lambda: self._touch(path, "read_sections", path))
        return answer.parse(lambda content: msgspec.json.decode(content, type=dict[str, str]))

    def resolve(self, path: str, automounts: Sequence[str] = ()) -> Reading[str]:
        """As of Host."""
        return reading_of(path, lambda: os.fsdecode(self._touch(path, "real_path", path, tuple(automounts))))

    def read_link(self, path: str) -> Reading[str]:
        """As of Host."""
        if _KERNEL_LINK.fullmatch(path):
            return reading_of(path, lambda: os.readlink(path))
        return reading_of(path, lambda: os.fsdecode(self._touch(path, "read_link", path)))

    def list_directory(self, path: str) -> Reading[tuple[str, ...]]:
        """As of Host."""

        def names() -> tuple[str, ...]:
            found = json.loads(self._touch(path, "names", path, LISTING_LIMIT, limit=16 << 20))
            if found is None:
                raise ValueError(f"has more than {LISTING_LIMIT} entries")
            return tuple(found)

        return reading_of(path, names)

    def status(self, path: str) -> Reading[FileStatus]:
        """As of Host."""
        return reading_of(path, lambda: msgspec.json.decode(self._touch(path, "status", path), type=FileStatus))

    def places(self, owner: int | str, paths: Sequence[str]) -> dict[str, Reading[Place]]:
        """As of Host."""
        root = f"/proc/{owner}/root"

        def found() -> bytes:
            return self._touch(root, "places", root, tuple(paths), limit=1 << 20)

        answer = reading_of(root, found)
        if answer.value is None:  # of a process that ended nothing is known: then absent is no answer
            gone = answer.kind == "absent"
            problem, kind = ("the process has ended", "not-readable") if gone else (answer.problem, answer.kind)
            return {path: Reading(path, None, problem, kind) for path in paths}
        return msgspec.json.decode(answer.value, type=dict[str, Reading[Place]])

    def run(
        self, path: str, *arguments: str, environment: dict[str, str] | None = None, timeout: float = 3.0
    ) -> Reading[Output]:
        """As of Host."""
        source = " ".join((path, *arguments))
        return self._ask_to_run(source, path, timeout, "run", path, arguments, environment or {})

    def run_daemon(self, pid: int, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
        """As of Host."""
        path = f"/proc/{pid}/exe"
        return self._ask_to_run(" ".join((path, *arguments)), path, timeout, "run_daemon", pid, arguments)

    def run_in(self, pid: int, path: str, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
        """As of Host."""
        if self.node_daemon(pid).value and is_entered(pid):  # nothing to enter, so no child more
            return self.run(path, *arguments, timeout=timeout)
        source, timeout = " ".join((path, *arguments)), self._timeout(timeout)

        answer = reading_of(source, lambda: run_inside(self, pid, path, arguments, timeout))
        if answer.value is None:
            return Reading(source, None, answer.problem, answer.kind)
        return msgspec.json.decode(answer.value, type=Reading[Output])

    def _ask_to_run(self, source: str, path: str, timeout: float, operation: str, *arguments: Any) -> Reading[Output]:
        """The output of a program that the helper runs: looking for it may hang as well."""
        timeout = self._timeout(timeout)

        def output() -> Output:
            name = _helper_name(path)
            if name in self._stuck:
                raise TimeoutError
            # What a program does not do in time says nothing of its file, so no path is remembered as stuck here.
            work, self.meanwhile = self.meanwhile, None
            answer = self._helper.ask(
                HELPER_NAME + name,
                operation,
                *arguments,
                timeout,
                timeout=timeout + 1,
                limit=_RUN_LIMIT,
                meanwhile=work,
            )
            return msgspec.json.decode(answer, type=Output)

        return reading_of(source, output)

    def try_sysctls(self, wanted: Mapping[str, str]) -> dict[str, Reading[str]]:
        """The outcomes by a child, which ends with its namespaces."""

        def attempt() -> bytes:
            return run_child(lambda: attempt_sysctls(self.own_proc, wanted), self._timeout(_TIMEOUT))

        answer = reading_of("/proc/sys", attempt)
        found = msgspec.json.decode(answer.value, type=dict[str, int]) if answer.value is not None else {}
        outcomes: dict[str, Reading[str]] = {}
        for name in wanted:
            file = f"/proc/sys/{sysctl_path(name)}"
            untried: Reading[str] = Reading.without(file, "not-tried", answer.problem or "no Pod has one of its own")
            known = Reading(file, errno.errorcode.get(found.get(name, 0), ""))
            outcomes[name] = known if name in found else untried
        return outcomes

    def processes(self) -> Reading[tuple[Process, ...]]:
        """As of Host."""

        def found() -> tuple[Process, ...]:
            init = self.read_text("/proc/1/cgroup").value or ""
            # The kernel answers for each of them, however many a Pod has started.
            rows = json.loads(self._touch("/proc", "processes", init, limit=64 << 20, timeout=_TIMEOUT_FOR_ALL))
            return tuple(Process(pid, name, tuple(argv)) for pid, name, argv in rows)

        if self._processes is None:
            self._processes = reading_of("/proc", found)
            self._stuck = self.stuck_helpers(self._processes.value or ())
        return self._processes

    def _touch(
        self, path: str, operation: str, *arguments: Any, limit: int = DEFAULT_LIMIT, timeout: float = _TIMEOUT
    ) -> bytes:
        """Result of an operation run by a child with *path* in its name; not run while another child hangs there.

        Nobody waits twice for the same path. *Errors*: as `run_child`.
        """
        name = _helper_name(path)
        if name in self._stuck:
            raise TimeoutError
        try:
            timeout = self._timeout(timeout)
            return self._helper.ask(HELPER_NAME + name, operation, *arguments, timeout=timeout, limit=limit)
        except TimeoutError:
            self._stuck |= {name}
            raise

    def _timeout(self, seconds: float) -> float:
        """*seconds* scaled by the slowness and limited by the deadline."""
        return max(min(seconds * self.slowness, self.deadline - time.monotonic()), _AT_ONCE)

    def started_at(self, pid: int) -> Reading[float]:
        """As of Host."""
        return reading_of(f"/proc/{pid}/stat", lambda: self._booted_at + start_time(pid))

    def init_hostname(self) -> Reading[str]:
        """Host name in the UTS namespace of process 1, read by a child that enters it."""
        link = "/proc/1/ns/uts"
        return reading_of(link, lambda: os.fsdecode(run_child(lambda: read_hostname(link), self._timeout(_TIMEOUT))))

    @cached_property
    def _booted_at(self) -> float:
        return boot_time()


def _is_kernel_file(path: str) -> bool:
    """Whether it is one of the kernel's own, which answers without a server; any other may lie where a server hangs."""
    if not path.startswith(("/proc/", "/sys/")) or ".." in path:
        return False
    below = path.split("/", 4)[2:]
    return len(below) < 2 or below[1] not in _OF_A_PROCESS or not (below[0] == "self" or below[0].isdecimal())


def _helper_name(path: str) -> str:
    return f"{zlib.crc32(os.fsencode(path)):08x}"
