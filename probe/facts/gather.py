"""From the host to its Facts: one process that enters the node, and one beside it that asks CRI."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from probe.facts import attempts
from probe.facts.filesystems import Subject, not_tried
from probe.facts.kernel import gather_distribution, gather_kernel, gather_probe
from probe.facts.kubelet import gather_kubelet
from probe.facts.mounts import Mount, MountTable, parse_mountinfo
from probe.facts.nothing import know_nothing
from probe.facts.pods import gather_userns_pod_runs
from probe.facts.runtime import gather_runtime
from probe.facts.types import (
    Attempt,
    Facts,
    KubeletFacts,
    MountFacts,
    NamespaceAttempt,
    ProbeFacts,
    Role,
    RuntimeFacts,
)
from probe.facts.visibility import visibility
from probe.host.child import Child, ChildError, run_child
from probe.host.cri import ANSWER_LIMIT, CriAnswer, cri_child
from probe.host.enter import enter_mount_namespace, enter_node, open_own_proc
from probe.host.idmap import Answer
from probe.host.root import Host, Process
from probe.reading import Reading
from probe.settings import Settings

KUBELET_ROOT = "/var/lib/kubelet"
RUNTIME_ROOT = "/var/lib/containerd"
"""Where they would be, on a node that has neither yet."""

_CRI_PATIENCE = 5.0
_FACTS_LIMIT = 64 << 20


def gather_facts(settings: Settings) -> Facts:
    """All that can be known about this node within the budget, gathered by a child that enters it."""
    budget = settings.budget.total_seconds()
    try:
        answer = run_child(lambda: msgspec.json.encode(_gather(settings)), budget + 1, limit=_FACTS_LIMIT)
        return msgspec.json.decode(answer, type=Facts)
    except TimeoutError:
        return know_nothing(settings.node_name, "timed-out", f"it did not come back within {budget:g} seconds")
    except (ChildError, OSError, ValueError) as error:
        return know_nothing(settings.node_name, "not-readable", f"it failed: {error}")


def gather_paths(settings: Settings, paths: Sequence[str], oci_runtime: str = "") -> tuple[Attempt, ...]:
    """The answer of the kernel for each path; where runtimes differ, for *oci_runtime*, else for all of them.

    *Errors*: TimeoutError and ChildError when the trying process did not come back.
    """
    budget = settings.budget.total_seconds()
    try_paths = lambda: msgspec.json.encode(_try_paths(settings, paths, oci_runtime))  # noqa: E731
    answer = run_child(try_paths, budget + 1, limit=_FACTS_LIMIT)
    return msgspec.json.decode(answer, type=tuple[Attempt, ...])


def _gather(settings: Settings) -> Facts:
    deadline = time.monotonic() + settings.budget.total_seconds()
    own_proc = open_own_proc()
    receive, send = os.pipe()
    with Child(lambda write: write(_ask_cri(settings, receive, send))) as cri:
        os.close(receive)
        host = Host()
        probe = gather_probe(host, enter_node(settings.proc))
        kubelet = gather_kubelet(host)
        endpoint = _endpoint(kubelet)
        os.write(send, endpoint.encode())
        os.close(send)
        userns_fd, namespace = attempts.attempt_namespace(probe, own_proc)
        answer = _cri_answer(cri, endpoint, deadline)
    runtime = gather_runtime(host, endpoint, answer, _root_dir(kubelet))
    bench = attempts.Bench(userns_fd, deadline, _enter_runtime(host, runtime))
    return gather_node(settings.node_name, host, bench, probe, namespace, kubelet, runtime)


def gather_node(
    node_name: str | None,
    host: Host,
    bench: attempts.Bench,
    probe: ProbeFacts,
    namespace: NamespaceAttempt,
    kubelet: Reading[KubeletFacts],
    runtime: Reading[RuntimeFacts],
) -> Facts:
    """The rest, once it is known who runs here: the kernel, the mount table, and the attempts."""
    kernel = gather_kernel(host)
    root_dir = _root_dir(kubelet)
    processes = host.processes().value or ()
    mounts = _read_mounts(host, runtime)
    rows = _try_node(host, bench, mounts, root_dir, runtime, processes)
    return Facts(
        node_name=node_name,
        distribution=gather_distribution(host),
        probe=probe,
        kernel=kernel,
        mounts=mounts.parse(_mount_facts),
        user_namespace=namespace,
        kubelet=kubelet,
        runtime=runtime,
        attempts=attempts.judge(rows, bench, probe, kernel, _oci_runtime(runtime)),
        userns_pod_runs=gather_userns_pod_runs(host, root_dir, processes),
    )


def _oci_runtime(runtime: Reading[RuntimeFacts]) -> str:
    """What makes the Pods of the default handler; empty when it is not known."""
    handlers = (runtime.value.handlers.value if runtime.value else None) or ()
    return next((one.oci_runtime.value or "" for one in handlers if not one.name), "")


def _root_dir(kubelet: Reading[KubeletFacts]) -> str:
    return (kubelet.value.root_dir.value if kubelet.value else None) or KUBELET_ROOT


def _ask_cri(settings: Settings, receive: int, send: int) -> bytes:
    """The life of the process that speaks gRPC: it imports while its parent still looks for the socket."""
    os.close(send)
    return cri_child(lambda: os.read(receive, 4096).decode(), lambda: enter_node(settings.proc))


def _endpoint(kubelet: Reading[KubeletFacts]) -> str:
    """The socket that the kubelet uses; empty when there is none to ask."""
    return (kubelet.value.endpoint.value if kubelet.value else None) or ""


def _cri_answer(cri: Child, endpoint: str, deadline: float) -> Reading[CriAnswer]:
    source = f"CRI {endpoint}"
    if not endpoint:
        return Reading.without("CRI", "not-tried", "no kubelet tells on which socket to ask")
    try:
        answer = cri.read(min(deadline, time.monotonic() + _CRI_PATIENCE), limit=ANSWER_LIMIT)
        return Reading(source, msgspec.json.decode(answer, type=CriAnswer))
    except TimeoutError:
        return Reading.without(source, "timed-out", "no answer in time")
    except (ChildError, msgspec.DecodeError) as error:
        return Reading.without(source, "not-readable", f"the process that asked it failed: {error}")


def _try_node(
    host: Host,
    bench: attempts.Bench,
    mounts: Reading[tuple[Mount, ...]],
    root_dir: str,
    runtime: Reading[RuntimeFacts],
    processes: Sequence[Process],
) -> list[tuple[Subject, Answer | Attempt]]:
    """Every file system that Pods need, then every one that they have."""
    table = MountTable(mounts.value or ())
    known = runtime.value
    runtime_root = (known.root_dir.value if known else None) or RUNTIME_ROOT
    layers = _directory(host, table, "overlay-layers", (known.layers_dir.value if known else None) or runtime_root)
    subjects = [
        _directory(host, table, "runtime-root", runtime_root),
        _directory(host, table, "kubelet-root", f"{root_dir}/pods"),
    ]
    volumes = attempts.volume_subjects(host, table, root_dir)
    if bench.userns_fd < 0:
        why = "no user namespace could be made to try it with"
        untried = [subjects[0], layers, subjects[1], attempts.TMPFS, *volumes]
        return [(subject, not_tried(subject, "not-tried", why)) for subject in untried]
    held = attempts.held_devices(processes, host)
    tried = attempts.try_subjects(bench, [*subjects, *volumes], table, held)
    return [
        tried[0],
        attempts.try_overlay(bench, host, layers),
        tried[1],
        (attempts.TMPFS, bench.tmpfs()),
        *tried[2:],
    ]


def _directory(host: Host, table: MountTable, role: Role, path: str) -> Subject:
    """A directory of the node, or where it would be made."""
    found = attempts.existing(host, path)
    return attempts.subject_of(table, role, found.value or path)


def _enter_runtime(host: Host, runtime: Reading[RuntimeFacts]) -> Callable[[], None]:
    """What brings a child into the mount namespace in which the runtime makes mounts; usually that of process 1."""
    confinement = runtime.value.confinement.value if runtime.value else None
    if confinement is None:
        return lambda: None
    link = f"/proc/{confinement.pid}/ns/mnt"

    def enter() -> None:
        entered = enter_mount_namespace(link)
        if entered.value is None and host.read_link(link).value != host.read_link("/proc/self/ns/mnt").value:
            raise PermissionError(errno.EPERM, entered.problem)

    return enter


def _read_mounts(host: Host, runtime: Reading[RuntimeFacts]) -> Reading[tuple[Mount, ...]]:
    """The runtime's mount table, else that of process 1, else our own."""
    confinement = runtime.value.confinement.value if runtime.value else None
    for owner in (confinement.pid if confinement else 1, "self"):
        reading = host.read(f"/proc/{owner}/mountinfo", limit=64 << 20).parse(parse_mountinfo)
        if reading.value is not None:
            break
    return reading


def _mount_facts(mounts: tuple[Mount, ...]) -> MountFacts:
    return MountFacts(count=len(mounts), proc=visibility(mounts, "proc"), sysfs=visibility(mounts, "sysfs"))


def _try_paths(settings: Settings, paths: Sequence[str], oci_runtime: str) -> tuple[Attempt, ...]:
    deadline = time.monotonic() + settings.budget.total_seconds()
    own_proc = open_own_proc()
    host = Host()
    probe, kernel = gather_probe(host, enter_node(settings.proc)), gather_kernel(host)
    table = MountTable(host.read("/proc/self/mountinfo", limit=64 << 20).parse(parse_mountinfo).value or ())
    userns_fd, namespace = attempts.attempt_namespace(probe, own_proc)
    bench = attempts.Bench(userns_fd, deadline, prepare=lambda: None)
    found = [(path, host.resolve(path)) for path in paths]
    subjects = [attempts.subject_of(table, "path", real.value or path) for path, real in found]
    if userns_fd < 0:
        why = f"no user namespace could be made to try it with: {namespace.message}"
        return tuple(not_tried(subject, namespace.kind or "not-tried", why) for subject in subjects)
    processes = host.processes().value or ()
    missing = {
        index: not_tried(subjects[index], _kind(real), real.problem)
        for index, (_, real) in enumerate(found)
        if real.value is None
    }
    present = [subject for index, subject in enumerate(subjects) if index not in missing]
    tried = iter(attempts.try_subjects(bench, present, table, attempts.held_devices(processes, host)))
    rows = [(subject, missing[i]) if i in missing else next(tried) for i, subject in enumerate(subjects)]
    return attempts.judge([*rows, (attempts.TMPFS, bench.tmpfs())], bench, probe, kernel, oci_runtime)[: len(paths)]


def _kind(reading: Reading[str]) -> Literal["not-permitted", "timed-out", "not-readable"]:
    """Why a path could not be looked at, in the words of an attempt."""
    return reading.kind if reading.kind in ("not-permitted", "timed-out") else "not-readable"
