"""Trying out the node: one user namespace, then every file system that Pods would need or have."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from probe.facts.filesystems.meaning import judge_answer, judge_namespace, not_tried
from probe.facts.filesystems.rules import Circumstances, Subject
from probe.facts.model import KernelFacts, ProbeFacts
from probe.facts.tried import SHOWN_BELOW, Attempt, NamespaceAttempt
from probe.host import idmap, syscalls
from probe.host.child import ChildError, run_child
from probe.host.host import Host, Process
from probe.host.idmap import Answer, Target
from probe.host.mount_table import MountTable
from probe.host.mountinfo import Mount, is_served, printable
from probe.host.processes import HELPER_NAME
from probe.host.walk import UNSERVED, attempt_all, is_fuse, prepare_helper
from probe.reading import Reading
from probe.terms import Role

PATIENCE = 1.0
"""Seconds that one file system may take: an attempt takes a tenth of a millisecond unless a server hangs."""
AT_ONCE = 0.1
"""Seconds for what everybody waits for, once the others have used up the time: a fork and an answer."""

STILL_HANGS = "timed out: an earlier attempt at it still hangs"

TMPFS = Subject(role="tmpfs", path="", fstype="tmpfs", device="")
"""A fresh one of our own, so the mount table says nothing of it."""


class Bench:
    """Where attempts are made: children of this process, with one user namespace. Tests put recorded answers here."""

    def __init__(
        self, userns_fd: int, deadline: float, prepare: Callable[[], None], patience: float = PATIENCE
    ) -> None:
        """*deadline* in seconds of time.monotonic(); *prepare* enters the runtime's mount namespace, in each child."""
        self.userns_fd = userns_fd
        self._deadline = deadline
        self._prepare = prepare
        self._patience = patience

    def control(self) -> Answer:
        """The negative control: procfs, which no kernel maps."""
        return idmap.attempt_idmap(Target("/proc", "", "proc"), self.userns_fd)

    def walk(self, targets: Sequence[Target]) -> Iterator[tuple[int, Answer]]:
        """The answer for each path by its index, as far as the time goes."""
        return attempt_all(targets, self.userns_fd, self._deadline, self._patience, self._prepare)

    def tmpfs(self) -> Answer:
        """A fresh tmpfs."""
        return self._in_child("tmpfs", lambda: idmap.attempt_tmpfs(self.userns_fd), served=False)

    def overlay(self, layers: Subject) -> Answer:
        """Overlay over an idmapped layer."""
        attempt = lambda: idmap.attempt_overlay(layers.path, self.userns_fd)  # noqa: E731
        return self._in_child(layers.device, attempt, served=is_served(layers.fstype))

    def _in_child(self, device: str, attempt: Callable[[], Answer], *, served: bool) -> Answer:
        """One attempt that needs a process of its own."""

        def prepared() -> bytes:
            answer = prepare_helper(self._prepare)
            syscalls.set_name(HELPER_NAME + device)
            return msgspec.json.encode(answer or attempt())

        patience = self._patience * (1 if served else UNSERVED)
        patience = max(min(patience, self._deadline - time.monotonic()), AT_ONCE)
        try:
            return msgspec.json.decode(run_child(prepared, patience), type=Answer)
        except TimeoutError:
            return Answer("helper", errno.ETIMEDOUT)
        except ChildError:
            return Answer("helper", errno.EIO)
        except OSError as error:
            return Answer("fork", error.errno or errno.EIO)


def attempt_namespace(probe: ProbeFacts, own_proc: int) -> tuple[int, NamespaceAttempt]:
    """A live user namespace with a full map, and its descriptor, or -1."""
    line = f"0 {idmap.FIRST_HOST_ID} {idmap.MAP_LENGTH}"
    if not probe.supported_architecture:
        reason = "unsupported architecture"
        return -1, NamespaceAttempt(result="unknown", reason=reason, kind="not-tried", step="", map=line)
    fd, answer = idmap.attempt_user_namespace(own_proc)
    return -1 if answer.error else fd, judge_namespace(answer, line)


def held_devices(processes: Sequence[Process], host: Host) -> frozenset[str]:
    """Devices whose helper of an earlier probe still hangs in the kernel: the process table is our only memory."""
    return frozenset(name for name in host.stuck_helpers(processes) if ":" in name)


def subject_of(table: MountTable, role: Role, path: str, plugin: str = "", mount: Mount | None = None) -> Subject:
    """What the mount table says of *path*, by text alone: nothing is touched."""
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
        idmapped="idmapped" in mount.options,
        unbindable="unbindable" in mount.propagation,
        mounts_below=len(below),
        below=tuple(sorted(set(below)))[:SHOWN_BELOW] if role == "path" else (),
        plugin=plugin,
    )


def existing(host: Host, path: str) -> Reading[str]:
    """*path* without symlinks, or its nearest ancestor that exists: where it would be made."""
    reading = host.resolve(path)
    while reading.kind == "absent" and path != "/":
        path = os.path.dirname(path)
        reading = host.resolve(path)
    return reading


def try_subjects(
    bench: Bench, subjects: Sequence[Subject], table: MountTable, held: frozenset[str]
) -> list[tuple[Subject, Answer | Attempt]]:
    """The kernel's answer for each subject, or the row that says why it was left alone."""
    outcome: dict[int, Answer | Attempt] = {}
    targets: dict[int, Target] = {}
    for index, subject in enumerate(subjects):
        target = Target(
            subject.path,
            subject.device,
            subject.fstype,
            ask_owner=subject.role in ("kubelet-root", "runtime-root") and not is_served(subject.fstype),
            unbindable=subject.unbindable,
            server=table.server_above(subject.path),
        )
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


def try_overlay(bench: Bench, host: Host, layers: Subject, held: frozenset[str]) -> tuple[Subject, Answer | Attempt]:
    """Overlay over an idmapped layer, where the module is there: mounting would load it."""
    if layers.device in held:
        return layers, not_tried(layers, "timed-out", STILL_HANGS)
    filesystems = host.read_text("/proc/filesystems")
    if filesystems.value is None or "\toverlay\n" not in filesystems.value:
        return layers, not_tried(layers, "not-tried", "not tried: the overlay module is not loaded")
    return layers, bench.overlay(layers)


def judge(
    tried: Sequence[tuple[Subject, Answer | Attempt]],
    bench: Bench,
    probe: ProbeFacts,
    kernel: KernelFacts,
    oci_runtime: str,
) -> tuple[Attempt, ...]:
    """The rows of the report: each answer read against all the others, for Pods that *oci_runtime* makes."""
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
    """What a FUSE server refused counts for nothing when, in the same probe, it did not answer for a path below it.

    Of all others the kernel alone decides: NFS cannot be idmapped, whether its server is there or not.
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
