"""Attempts on the node: one user namespace, then idmapped mounts of every file system that Pods need or use."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence

import msgspec

from probe.facts.filesystems.meaning import judge_answer, judge_namespace, not_tried
from probe.facts.filesystems.rules import Circumstances, Subject
from probe.facts.model import KernelFacts, ProbeFacts
from probe.facts.tried import SHOWN_BELOW, Attempt, NamespaceAttempt
from probe.host import idmap
from probe.host.host import Host, Process
from probe.host.idmap import Answer, Target
from probe.host.mount_table import MountTable
from probe.host.mountinfo import Mount, is_served, printable
from probe.host.walk import attempt_all, is_fuse
from probe.reading import Reading
from probe.terms import Role

TIMEOUT = 1.0
"""Timeout of one file system in seconds; an attempt takes 0.1 ms unless a server hangs."""

STILL_HANGS = "timed out: an earlier attempt at it still hangs"

TMPFS = Subject(role="tmpfs", path="", fstype="tmpfs", device="")
"""A new tmpfs made by the probe, so it has no mount table entry."""


class Bench:
    """Runs attempts in child processes with one user namespace. Tests replace it by recorded answers."""

    def __init__(self, userns_fd: int, deadline: float, prepare: Callable[[], None], timeout: float = TIMEOUT) -> None:
        """*deadline* in seconds of time.monotonic(); *prepare* enters the runtime's mount namespace, in each child."""
        self.userns_fd = userns_fd
        self._deadline = deadline
        self._prepare = prepare
        self._timeout = timeout

    def control(self) -> Answer:
        """Negative control: an attempt on procfs, which no kernel can idmap."""
        return idmap.attempt_idmap(Target("/proc", "", "proc"), self.userns_fd)

    def walk(self, targets: Sequence[Target]) -> Iterator[tuple[int, Answer]]:
        """(index, answer) of each target reached before the deadline, tried by as few children as possible."""
        return attempt_all(targets, self.userns_fd, self._deadline, self._timeout, self._prepare)


def attempt_namespace(probe: ProbeFacts, own_proc: int) -> tuple[int, NamespaceAttempt]:
    """Create a user namespace with a full map; returns its descriptor (-1 on failure) and the result."""
    line = f"0 {idmap.FIRST_HOST_ID} {idmap.MAP_LENGTH}"
    if not probe.supported_architecture:
        reason = "unsupported architecture"
        return -1, NamespaceAttempt(result="unknown", reason=reason, kind="not-tried", step="", map=line)
    fd, answer = idmap.attempt_user_namespace(own_proc)
    return -1 if answer.error else fd, judge_namespace(answer, line)


def held_devices(processes: Sequence[Process], host: Host) -> frozenset[str]:
    """Devices on which a child of an earlier probe still hangs, found by the names of stuck processes."""
    return frozenset(name for name in host.stuck_helpers(processes) if ":" in name)


def subject_of(table: MountTable, role: Role, path: str, plugin: str = "", mount: Mount | None = None) -> Subject:
    """Subject for *path* from the text of the mount table; no file system is touched."""
    mount = mount or table.mount_of(path)
    if mount is None:
        return Subject(role=role, path=path, fstype="", device="", plugin=plugin)
    below = table.points_below(path) if role in ("volume", "path") else ()
    return Subject(
        role=role,
        path=path,
        fstype=mount.fstype,
        device=mount.device,
        read_only=mount.read_only,
        mount_read_only="ro" in mount.options,
        idmapped="idmapped" in mount.options,
        unbindable="unbindable" in mount.propagation,
        mounts_below=len(below),
        below=tuple(sorted(set(below)))[:SHOWN_BELOW] if role == "path" else (),
        plugin=plugin,
    )


def existing(host: Host, path: str) -> Reading[str]:
    """Resolved path of *path*, or of its nearest existing ancestor."""
    reading = host.resolve(path)
    while reading.kind == "absent" and path != "/":
        path = os.path.dirname(path)
        reading = host.resolve(path)
    return reading


def try_subjects(
    bench: Bench, subjects: Sequence[Subject], table: MountTable, held: frozenset[str]
) -> list[tuple[Subject, Answer | Attempt]]:
    """Each subject with the kernel's answer, or with an unknown attempt when it was not tried."""
    outcome: dict[int, Answer | Attempt] = {}
    targets: dict[int, Target] = {}
    for index, subject in enumerate(subjects):
        target = target_of(subject, table)
        if subject.device in held or target.server in held:
            outcome[index] = not_tried(subject, "timed-out", STILL_HANGS)
        else:
            targets[index] = target
    order = list(targets)
    for position, answer in bench.walk(list(targets.values())):
        outcome[order[position]] = answer
    late = "the time for this probe ran out"
    tried = [(s, outcome.get(i) or not_tried(s, "not-tried", late)) for i, s in enumerate(subjects)]
    return _distrust_servers(tried, targets)


def target_of(subject: Subject, table: MountTable) -> Target:
    """What is tried for *subject*."""
    if subject.role == "tmpfs":
        return Target(subject.path, subject.device, subject.fstype, kind="tmpfs")
    server, served = table.server_above(subject.path), is_served(subject.fstype)
    if subject.role == "overlay-layers":  # its attempt looks at files of the layer
        server = server or (subject.device if served else "")
        return Target(subject.path, subject.device, subject.fstype, server=server, kind="overlay")
    return Target(
        subject.path,
        subject.device,
        subject.fstype,
        ask_owner=subject.role in ("kubelet-root", "runtime-root") and not served,
        unbindable=subject.unbindable,
        server=server,
        recursive=subject.recursive,
    )


def without_overlay(host: Host, layers: Subject) -> Attempt | None:
    """The attempt at an overlay where its module is not loaded, as mounting would load it; None where it is."""
    filesystems = host.read_text("/proc/filesystems")
    if filesystems.value is None:
        return not_tried(layers, "not-readable", f"not tried: {filesystems.source}: {filesystems.problem}")
    if "\toverlay\n" not in filesystems.value:
        return not_tried(layers, "not-tried", "not tried: the overlay module is not loaded")
    return None


def judge(
    tried: Sequence[tuple[Subject, Answer | Attempt]],
    bench: Bench,
    probe: ProbeFacts,
    kernel: KernelFacts,
    oci_runtime: str,
) -> tuple[Attempt, ...]:
    """Rows of the report: each answer judged in context of all others, for Pods of *oci_runtime*."""
    circumstances = Circumstances(
        worked_elsewhere=any(isinstance(answer, Answer) and not answer.error for _, answer in tried),
        proc_refused=bench.userns_fd < 0 or bool(bench.control().error),
        seccomp=probe.seccomp.value != 0,
        release=kernel.release.value or "",
        oci_runtime=oci_runtime,
    )
    rows = [
        judge_answer(subject, answer, circumstances) if isinstance(answer, Answer) else answer
        for subject, answer in tried
    ]
    return tuple(msgspec.structs.replace(row, path=printable(row.path)) for row in rows)


def _distrust_servers(
    tried: list[tuple[Subject, Answer | Attempt]], targets: dict[int, Target]
) -> list[tuple[Subject, Answer | Attempt]]:
    """Make refusals of a FUSE server unknown when it did not answer for another path in the same probe.

    For all other types the kernel alone decides: NFS cannot be idmapped even if its server answers.
    """
    silent = {
        targets[index].server
        for index, (_, answer) in enumerate(tried)
        if isinstance(answer, Answer) and answer.error == errno.ETIMEDOUT and index in targets
    }
    return [
        (subject, msgspec.structs.replace(answer, waiting=True))
        if isinstance(answer, Answer) and answer.error and subject.device in silent and is_fuse(subject.fstype)
        else (subject, answer)
        for subject, answer in tried
    ]
