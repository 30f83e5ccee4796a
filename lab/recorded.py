"""Nodes that were recorded, each a folder of tests/hosts: what was read there, and what was answered.

`root/` is a tree of the node's files: `FILE.error` holds the errno with which reading FILE failed, and links.json
in a process's directory what its links say. `answers.json` names the answers of programs and of the container runtime
(tests/data), and the kernel, whose answers to attempts stand in tests/hosts/kernels.json. `origin.txt` tells what of it
was recorded and what was constructed.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from lab.cri_recordings import recorded_answer
from lab.factory import DEVICES, make_probe
from lab.fake_host import FakeHost
from probe.facts.filesystems import attempts
from probe.facts.gather import gather_node
from probe.facts.kernel import gather_kernel
from probe.facts.model import Facts, ProbeFacts, RuntimeFacts
from probe.facts.tried import (
    NOT_ASKED,
    POD_NOT_ASKED,
    Attempt,
    NamespaceAttempt,
    PodTrialFacts,
    RuntimeTrialFacts,
    SandboxFacts,
)
from probe.host import idmap
from probe.host.cri import CriAnswer, no_answer
from probe.host.host import FileStatus, Process
from probe.host.idmap import FIRST_HOST_ID, Answer, NamespaceAnswer, Target
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo
from probe.host.places import Place
from probe.host.program import Output
from probe.make_report import make_report
from probe.reading import Reading
from probe.report import Report

TESTS = Path(__file__).parents[1] / "tests"
FOLDER = TESTS / "hosts"
DATA = TESTS / "data"
NAMES = tuple(sorted(path.parent.name for path in FOLDER.glob("*/answers.json")))
KERNELS: dict[str, dict[str, Any]] = json.loads((FOLDER / "kernels.json").read_text())

_TICKS = 100  # per second, in proc_pid_stat(5)
_COMM_LENGTH = 15
_LIMITS = (
    "Max file size             unlimited            unlimited            bytes\n"
    "Max data size             unlimited            unlimited            bytes\n"
    "Max stack size            8388608              8388608              bytes\n"
    "Max processes             unlimited            unlimited            processes\n"
    "Max open files            1048576              1048576              files\n"
    "Max address space         unlimited            unlimited            bytes\n"
)
_USERNS_FD = 1000  # the number of no open file: recorded answers need none


class RecordedHost(FakeHost):
    """The files, links, processes and programs of a recorded node; what is not in the recording does not exist."""

    def __init__(self, folder: Path, answers: dict[str, Any]) -> None:
        super().__init__()
        self.directories: set[str] = set()
        for directory in answers["directories"]:
            self.add_directory(directory)
        self.commands = {command: _output(answer) for command, answer in answers["commands"].items()}
        for path, recording in answers["oci_runtimes"].items():
            self.add_oci_runtime(path, recording)
        root = folder / "root"
        for file in sorted(path for path in root.rglob("*") if path.is_file() and path.name != "links.json"):
            path = f"/{file.relative_to(root)}"
            if path.endswith(".error"):
                self.files[path.removesuffix(".error")] = int(file.read_text().split()[0])
            else:
                self.files[path] = file.read_bytes()
        mounts: dict[str, bytes] = {}
        for entry in sorted((root / "proc").glob("[0-9]*"), key=lambda path: int(path.name)):
            recorded = json.loads((entry / "links.json").read_text())
            self._add_recorded(int(entry.name), recorded, answers["booted"])
            if (entry / "mountinfo").exists():
                mounts[recorded["links"]["ns/mnt"]] = (entry / "mountinfo").read_bytes()
        for process in self.process_list:  # one copy of a table serves all that see the same
            if table := mounts.get(str(self.links[f"/proc/{process.pid}/ns/mnt"])):
                self.files.setdefault(f"/proc/{process.pid}/mountinfo", table)
        self._stand_for_the_probe()
        self._add_surroundings()

    def add_oci_runtime(self, path: str, recording: str) -> None:
        """Put an OCI runtime of tests/data/oci at *path*."""
        oci = DATA / "oci"
        features = oci / f"{recording}.features.json"
        self.commands[f"{path} --version"] = (oci / f"{recording}.version.txt").read_text()
        self.commands[f"{path} features"] = (
            features.read_text()
            if features.exists()
            else Output(1, "", (oci / f"{recording}.features.stderr.txt").read_text())
        )
        self.modified.setdefault(path, 0.0)

    def _add_surroundings(self) -> None:
        """What no recording has, and every node on which Pods run: devices, /tmp, a shim, a network, limits."""
        folders = (
            "/var/log/pods",
            "/tmp",
            "/run",
            "/run/containerd",
            "/var/run",
            "/dev",
            "/sys/fs/cgroup",
            "/var/lib/cni",
            "/var/lib/kubelet",
            "/var/lib/containers/storage",
        )
        programs: tuple[str, ...] = ("/usr/bin/containerd-shim-runc-v2", "/usr/lib/cni/bridge", "/usr/lib/cni/loopback")
        programs += ("/usr/bin/mount", "/usr/bin/conmon", "/opt/crio/bin/pinns")
        modes = dict.fromkeys(folders, 0o40755) | dict.fromkeys(programs, 0o100755)
        modes |= dict.fromkeys(("/run/dbus/system_bus_socket",), 0o140666)
        modes |= dict.fromkeys(("/etc/hosts", "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"), 0o100644)
        self.places_found = {path: Place(path=path, mode=mode, uid=0, gid=0) for path, mode in modes.items()}
        for name, number in DEVICES.items():
            self.places_found[f"/dev/{name}"] = Place(path=name, mode=0o20666, uid=0, gid=0, device=number)
        self.files["/etc/cni/net.d/10-bridge.conf"] = '{"cniVersion": "1.0.0", "name": "net", "type": "bridge"}'
        self.files |= {"/proc/sys/kernel/keys/maxkeys": "200\n", "/proc/sys/kernel/keys/maxbytes": "20000\n"}
        for process in self.process_list:
            self.files[f"/proc/{process.pid}/limits"] = _LIMITS
            self.files[f"/proc/{process.pid}/oom_score_adj"] = "-999\n"

    def add_directory(self, path: str) -> None:
        """Let a directory exist, and those above it."""
        while path != "/":
            self.directories.add(path)
            path = os.path.dirname(path)

    def status(self, path: str) -> Reading[FileStatus]:
        """Of a directory, also one whose content was not recorded; else as the tree tells."""
        if self._natural(path) in self.directories:
            return Reading(path, FileStatus(0o040755, 0, 4096, 0.0))
        return super().status(path)

    def list_directory(self, path: str) -> Reading[tuple[str, ...]]:
        """The names of files and of directories."""
        listed = super().list_directory(path)
        natural = self._natural(path).rstrip("/") + "/"
        beneath = {name[len(natural) :].split("/")[0] for name in self.directories if name.startswith(natural)}
        if not beneath or (listed.value is None and listed.kind != "absent"):
            return listed
        return Reading(path, tuple(sorted({*(listed.value or ()), *beneath})))

    def end_process(self, pid: int) -> None:
        """Take a process away with all that /proc tells of it."""
        self.process_list = [process for process in self.process_list if process.pid != pid]
        del self.started[pid]
        for entries in (self.files, self.links):
            for path in [path for path in entries if path.startswith(f"/proc/{pid}/")]:
                del entries[path]

    def _add_recorded(self, pid: int, recorded: dict[str, Any], booted: float) -> None:
        argv = tuple(os.fsdecode(part) for part in self._bytes(f"/proc/{pid}/cmdline").split(b"\0")[:-1])
        name = self._bytes(f"/proc/{pid}/comm").decode().rstrip("\n")
        program = os.path.basename(argv[0]) if argv else ""
        if len(name) == _COMM_LENGTH and program.startswith(name):
            name = program  # as psutil completes what the kernel has cut off
        self.process_list.append(Process(pid, name, argv))
        self.started[pid] = booted + recorded["start_ticks"] / _TICKS
        self.links |= {f"/proc/{pid}/{link}": target for link, target in recorded["links"].items()}
        if not _is_pods(self._bytes(f"/proc/{pid}/uid_map")):
            self.modified.setdefault(recorded["links"]["exe"], recorded["exe"]["mtime"])

    def _stand_for_the_probe(self) -> None:
        """A probe that has entered the node sees there what process 1 sees."""

        def own(path: str) -> str:
            return f"/proc/self/{path.removeprefix('/proc/1/')}" if path.startswith("/proc/1/") else path

        self.files |= {own(path): content for path, content in self.files.items() if path != own(path)}
        self.links |= {own(path): target for path, target in self.links.items() if path != own(path)}

    def _bytes(self, path: str) -> bytes:
        content = self.files[path]
        assert isinstance(content, bytes), path
        return content


class RecordedBench(attempts.Bench):
    """The answers that a kernel gave to attempts, by the kind of file system; an unforeseen kind is a KeyError."""

    def __init__(self, kernel: dict[str, Any], userns_fd: int) -> None:
        super().__init__(userns_fd, deadline=0.0, prepare=lambda: None)
        self._kernel = kernel

    def control(self) -> Answer:
        return _answer(self._kernel["mounts"]["proc"], "mount_setattr", ask_owner=False)

    def walk(self, targets: Sequence[Target]) -> Iterator[tuple[int, Answer]]:
        for index, target in enumerate(targets):
            yield index, self._attempt(target)

    def _attempt(self, target: Target) -> Answer:
        if target.kind == "tmpfs":
            return _answer(self._kernel["tmpfs"], "mount_setattr", ask_owner=True)
        ask_owner = target.ask_owner or target.kind == "overlay"
        clone = _answer(self._kernel["mounts"][target.fstype], "mount_setattr", ask_owner)
        if clone.error or target.kind == "mount":
            return clone
        return _answer(self._kernel["overlay"], "overlay", ask_owner=True)


class Recording:
    """A recorded node, which a test may change before it asks for its Report."""

    def __init__(self, name: str) -> None:
        answers = json.loads((FOLDER / name / "answers.json").read_text())
        self.name = name
        self.host = RecordedHost(FOLDER / name, answers)
        self.kernel = msgspec.json.decode(msgspec.json.encode(KERNELS[answers["kernel"]]))
        """What it answers to attempts; a copy of its own."""
        self.socket: str = answers["cri"]["socket"]
        """Where the runtime listens, without symlinks; elsewhere nobody answers."""
        self.runtime_pid: int = answers["cri"]["listener"]
        self.cri = recorded_answer(answers["cri"]["recording"], self.socket, self.runtime_pid)
        self.namespace = NamespaceAnswer("done")
        """How far the making of a user namespace comes."""

    @property
    def kubelet_pid(self) -> int:
        """Pid of the kubelet."""
        return next(process.pid for process in self.host.process_list if process.name == "kubelet")

    @property
    def mountinfo(self) -> str:
        """The runtime's mount table; setting it sets that of everyone who sees the same."""
        return self.host._bytes(f"/proc/{self.runtime_pid}/mountinfo").decode()

    @mountinfo.setter
    def mountinfo(self, table: str) -> None:
        before = self.mountinfo.encode()
        for path, content in self.host.files.items():
            if path.endswith("/mountinfo") and content == before:
                self.host.files[path] = table.encode()

    def facts(self, probe: ProbeFacts | None = None) -> Facts:
        """What the probe knows of the node; *probe* is one that may do everything, unless a test gives another."""
        return gather_node("k8slab", self.host, probe or make_probe(), RecordedTrials(self))

    def report(self) -> Report:
        """What the probe says of the node."""
        now = "2026-11-21T21:00:00Z"
        return make_report(self.facts(), agent_version="0", probed_at=now, expires_at=now, duration_seconds=0.0)

    def try_path(self, path: str) -> Attempt:
        """What `userns-probe path` says of a volume on that path."""
        bench, _ = self.attempt_namespace()
        table = MountTable(parse_mountinfo(self.mountinfo.encode()))
        subjects = [attempts.subject_of(table, "path", path), attempts.TMPFS]
        rows = attempts.try_subjects(bench, subjects, table, frozenset())
        return attempts.judge(rows, bench, make_probe(), gather_kernel(self.host), oci_runtime="")[0]

    def attempt_namespace(self) -> tuple[RecordedBench, NamespaceAttempt]:
        """The place of attempts, and how the making of its user namespace ended."""
        fd = -1 if self.namespace.error else _USERNS_FD
        with mock.patch.object(idmap, "attempt_user_namespace", return_value=(fd, self.namespace)):
            fd, attempt = attempts.attempt_namespace(make_probe(), own_proc=-1)
        return RecordedBench(self.kernel, fd), attempt

    def ask(self, endpoint: str) -> CriAnswer:
        """The runtime's answer on that socket. /var/run is a symlink to /run everywhere."""
        if endpoint.removeprefix("/var") == self.socket or endpoint == self.socket:
            return msgspec.structs.replace(self.cri, endpoint=endpoint)
        return no_answer(endpoint, "absent", "No such file or directory")


class RecordedTrials:
    """What the other processes of a probe would answer on a recorded node; no trial was recorded."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._bench, self._namespace = recording.attempt_namespace()

    def cri(self, endpoint: str) -> None:
        """Nobody waits for it."""

    def namespace(self, probe: ProbeFacts) -> NamespaceAttempt:
        return self._namespace

    def cri_answer(self, endpoint: str) -> Reading[CriAnswer]:
        if not endpoint:
            return Reading.without("CRI", "not-tried", "no kubelet names the runtime's socket")
        return Reading(f"CRI {endpoint}", self._recording.ask(endpoint))

    def bench(self, runtime: Reading[RuntimeFacts]) -> attempts.Bench:
        return self._bench

    def sandbox(self) -> Reading[SandboxFacts]:
        return Reading.without("sandbox trial", "not-tried", "not tried")

    def oci_runtime(self, *_: object) -> Reading[RuntimeTrialFacts]:
        return NOT_ASKED

    def pod(self, facts: Facts) -> Reading[PodTrialFacts]:
        return POD_NOT_ASKED


def expectation(report: Report) -> dict[str, Any]:
    """What expected.json holds of a Report: the verdicts, and each finding that is neither passed nor skipped."""
    return {
        "verdict": report.verdict,
        "reason": report.reason,
        "levels": report.levels,
        "handlers": {row.name: f"{row.verdict} {row.reason}".strip() for row in report.handlers},
        "contradictions": list(report.contradictions),
        "findings": {
            f.id: f"{f.status} {f.reason}".strip() for f in report.findings if f.status not in ("pass", "skipped")
        },
    }


def _answer(recorded: str, step: str, ask_owner: bool) -> Answer:
    if recorded != "ok":
        return Answer(step, getattr(errno, recorded))
    return Answer("done", 0, (0, FIRST_HOST_ID) if ask_owner else None)


def _output(answer: dict[str, Any]) -> Output:
    """Of a program: `stdout`, or the `file` of tests/data that holds it."""
    stdout = (DATA / answer["file"]).read_text() if "file" in answer else answer["stdout"]
    return Output(answer.get("status", 0), stdout, answer.get("stderr", ""))


def _is_pods(uid_map: bytes) -> bool:
    return uid_map.split()[1] != b"0"
