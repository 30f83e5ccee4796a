"""A node made of dictionaries: what its files, links, processes and programs say."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from probe.host.host import FileStatus, Host, Process
from probe.host.places import Place
from probe.host.program import Output
from probe.reading import Reading

_THROUGH_A_ROOT = re.compile(r"/proc/(\d+)/root(/.*|$)")
NAMESPACE = {"user": "user:[4026531837]", "pid": "pid:[4026531836]", "mnt": "mnt:[4026531841]"}


@dataclass
class FakeHost(Host):
    """A Host whose every answer a test gave beforehand. What nobody gave does not exist (ENOENT).

    A value that is an errno (`errno.EACCES`) or a whole Reading is answered as that problem.
    """

    files: dict[str, bytes | str | int] = field(default_factory=dict)
    links: dict[str, str | int] = field(default_factory=dict)
    commands: dict[str, Output | str | Reading[Output]] = field(default_factory=dict)
    """By the whole command line, `/usr/bin/runc --version`; a text is the stdout of a success."""
    modified: dict[str, float] = field(default_factory=dict)
    """Modification times in seconds since the epoch; 0 where nothing is said."""
    changed: dict[str, float] = field(default_factory=dict)
    """The same of the inodes."""
    modes: dict[str, int] = field(default_factory=dict)
    """Of files; where nothing is said 0755 for a program, which lies in a folder `bin` or `sbin`, or is run, else 0644.
    """
    places_found: dict[str, Place | int] = field(default_factory=dict)
    """What a process finds at a path; a file or directory of root's where nothing is said."""
    sysctl_errors: dict[str, str] = field(default_factory=dict)
    """Name -> name of the errno that a Pod gets, empty for success."""
    hostname: str | int = errno.EPERM
    """Host name in the UTS namespace of process 1."""
    started: dict[int, float] = field(default_factory=dict)
    process_list: list[Process] = field(default_factory=list)
    processes_problem: Reading[tuple[Process, ...]] | None = None
    touched: list[str] = field(default_factory=list)
    """Every path that was read, listed or looked at, and every command line that was run."""

    def __post_init__(self) -> None:
        for name, target in NAMESPACE.items():
            self.links.setdefault(f"/proc/1/ns/{name}", target)
            self.links.setdefault(f"/proc/self/ns/{name}", target)

    def add_process(
        self,
        pid: int,
        *argv: str,
        name: str = "",
        exe: str = "",
        uid: int = 0,
        cgroup: str = "0::/system.slice/kubelet.service\n",
        user_namespace: str = NAMESPACE["user"],
        nspid: str = "",
        parent: int = 1,
        root: str = "/",
        cwd: str = "/",
        started: float = 1000.0,
        environment: Mapping[str, str] | None = None,
        capabilities: int = 0x1FFFFFFFFFF,
    ) -> None:
        """A process as /proc shows it; by default a daemon of the node that started at second 1000."""
        name = name or os.path.basename(argv[0])
        self.process_list.append(Process(pid, name, argv))
        self.started[pid] = started
        status = {
            "Name": name,
            "PPid": parent,
            "Uid": f"{uid}\t" * 3 + str(uid),
            "NSpid": nspid or pid,
            "CapEff": f"{capabilities:016x}",
            "Seccomp": 0,
        }
        self.files |= {
            f"/proc/{pid}/status": "".join(f"{key}:\t{value}\n" for key, value in status.items()),
            f"/proc/{pid}/cgroup": cgroup,
            f"/proc/{pid}/comm": name + "\n",
            f"/proc/{pid}/cmdline": "".join(f"{argument}\0" for argument in argv),
            f"/proc/{pid}/environ": "".join(f"{key}={value}\0" for key, value in (environment or {}).items()),
        }
        self.links |= {
            f"/proc/{pid}/exe": exe or argv[0],
            f"/proc/{pid}/root": root,
            f"/proc/{pid}/cwd": cwd,
            f"/proc/{pid}/ns/user": user_namespace,
            f"/proc/{pid}/ns/pid": NAMESPACE["pid"],
            f"/proc/{pid}/ns/mnt": NAMESPACE["mnt"],
        }

    def read(self, path: str, limit: int = 4 << 20) -> Reading[bytes]:
        """The content that the test gave."""
        self.touched.append(path)
        content = self.files.get(self._natural(path), errno.ENOENT)
        if isinstance(content, int):
            return _error(path, content)
        content = content.encode() if isinstance(content, str) else content
        if len(content) > limit:
            return Reading.without(path, "not-readable", f"is larger than {limit} bytes")
        return Reading(path, content)

    def read_beneath(self, directory: str, path: str, limit: int = 4 << 20) -> Reading[bytes]:
        """The same content."""
        return self.read(f"{directory}/{path}", limit)

    def read_all_beneath(self, directory: str, paths: Sequence[str], limit: int = 1 << 16) -> dict[str, Reading[bytes]]:
        """The same contents."""
        return {path: self.read_beneath(directory, path, limit) for path in paths}

    def read_sections(self, path: str) -> Reading[dict[str, str]]:
        """The file that the test gave, in which each line is `SECTION TEXT`, with \\n for a line break."""
        pairs = self.read_text(path).parse(lambda text: [line.partition(" ") for line in text.splitlines()])
        return pairs.parse(lambda found: {name: text.replace("\\n", "\n") for name, _, text in found})

    def resolve(self, path: str, automounts: Sequence[str] = ()) -> Reading[str]:
        """The path itself, or where a link that the test gave leads, if there is anything."""
        target = self.links.get(path, path)
        status = self.status(target) if isinstance(target, str) else _error(path, target)
        return Reading(path, str(target)) if status.value else Reading(path, None, status.problem, status.kind)

    def read_link(self, path: str) -> Reading[str]:
        """The target that the test gave."""
        self.touched.append(path)
        target = self.links.get(path, errno.ENOENT)
        return _error(path, target) if isinstance(target, int) else Reading(path, target)

    def list_directory(self, path: str) -> Reading[tuple[str, ...]]:
        """The names below *path* among the files; a file that is an errno makes its own name unreadable only."""
        self.touched.append(path)
        natural = self._natural(path).rstrip("/")
        if isinstance(problem := self.files.get(natural), int):
            return _error(path, problem)
        if natural in self.files:
            return _error(path, errno.ENOTDIR)
        beneath = [name[len(natural) + 1 :] for name in self.files if name.startswith(natural + "/")]
        names = tuple(sorted({name.split("/")[0] for name in beneath if name}))
        return Reading(path, names) if beneath else _error(path, errno.ENOENT)

    def status(self, path: str) -> Reading[FileStatus]:
        """A file of root's or a directory, as old as the test said."""
        self.touched.append(path)
        natural = self._natural(path)
        content = self.files.get(natural)
        if content is None and any(name.startswith(natural.rstrip("/") + "/") for name in self.files):
            return Reading(path, FileStatus(0o040755, 0, 4096, self.modified.get(natural, 0.0)))
        if content is None and natural not in self.modified:
            return _error(path, errno.ENOENT)
        if isinstance(content, int):
            return _error(path, content)
        mode, size = stat.S_IFREG | self.modes.get(natural, self._usual_mode(natural)), len(content or "")
        times = self.modified.get(natural, 0.0), self.changed.get(natural, 0.0)
        return Reading(path, FileStatus(mode, 0, size, *times))

    def _usual_mode(self, path: str) -> int:
        folder = os.path.basename(os.path.dirname(path))
        program = folder in ("bin", "sbin") or any(command.split(" ")[0] == path for command in self.commands)
        return 0o755 if program else 0o644

    def places(self, owner: int | str, paths: Sequence[str]) -> dict[str, Reading[Place]]:
        """What the test gave, else the same as `status`."""
        return {path: self._place(owner, path) for path in paths}

    def _place(self, owner: int | str, path: str) -> Reading[Place]:
        given = self.places_found.get(path)
        if given is not None:
            return _error(path, given) if isinstance(given, int) else Reading(path, given)
        seen = self.status(f"/proc/{owner}/root{path}")
        return Reading(path, seen.value, seen.problem, seen.kind).parse(
            lambda file: Place(path=path, mode=file.mode, uid=file.uid, gid=0)
        )

    def run(
        self, path: str, *arguments: str, environment: dict[str, str] | None = None, timeout: float = 3.0
    ) -> Reading[Output]:
        """The answer that the test gave to this command line."""
        command = " ".join((path, *arguments))
        self.touched.append(command)
        answer = self.commands.get(command)
        if answer is None:
            return _error(command, errno.ENOENT)
        if isinstance(answer, Reading):
            return answer
        return Reading(command, Output(0, answer, "") if isinstance(answer, str) else answer)

    def run_daemon(self, pid: int, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
        """The answer given to `/proc/<pid>/exe ARGUMENT…`, else to the path that this link has."""
        own = f"/proc/{pid}/exe"
        target = self.links.get(own, "")
        known = " ".join((own, *arguments)) in self.commands or not isinstance(target, str)
        return self.run(own if known else str(target), *arguments, timeout=timeout)

    def run_in(self, pid: int, path: str, *arguments: str, timeout: float = 3.0) -> Reading[Output]:
        """The same answer: there is one node here, and one root."""
        return self.run(path, *arguments, timeout=timeout)

    def try_sysctls(self, wanted: Mapping[str, str]) -> dict[str, Reading[str]]:
        """What the test gave; nothing else was tried."""
        untried: Reading[str] = Reading.without("/proc/sys", "not-tried", "a test tries nothing")
        return {
            name: Reading(name, self.sysctl_errors[name]) if name in self.sysctl_errors else untried for name in wanted
        }

    def processes(self) -> Reading[tuple[Process, ...]]:
        """The processes that the test added, by pid."""
        if self.processes_problem is not None:
            return self.processes_problem
        return Reading("/proc", tuple(sorted(self.process_list, key=lambda process: process.pid)))

    def started_at(self, pid: int) -> Reading[float]:
        """When the test let it start."""
        if pid not in self.started:
            return _error(f"/proc/{pid}/stat", errno.ESRCH)
        return Reading(f"/proc/{pid}/stat", self.started[pid])

    def init_hostname(self) -> Reading[str]:
        """The given name, or the errno as a problem."""
        link = "/proc/1/ns/uts"
        return _error(link, self.hostname) if isinstance(self.hostname, int) else Reading(link, self.hostname)

    def _natural(self, path: str) -> str:
        """The path of this node behind one that leads through a process's root."""
        through = _THROUGH_A_ROOT.fullmatch(path)
        if not through:
            return path
        root = self.links.get(f"/proc/{through[1]}/root", "/")
        return os.path.normpath(f"{root}/{through[2]}").replace("//", "/")


def _error(source: str, number: int) -> Reading:  # type: ignore[type-arg]
    return Reading.from_error(source, OSError(number, os.strerror(number)))
