"""From the host to its Facts: a process that enters the node, one that asks CRI, and one that tries a sandbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from probe.facts.assemble import entering, gather_node, gather_node_ids, mount_namespace_of, root_dir_of
from probe.facts.filesystems import attempts
from probe.facts.filesystems.meaning import not_tried
from probe.facts.kernel import gather_kernel, gather_probe
from probe.facts.kubelet.facts import gather_kubelet
from probe.facts.model import Attempt
from probe.facts.node import Facts
from probe.facts.not_entered import forget_container, not_entered
from probe.facts.runtime.cri import cri_answer
from probe.facts.runtime.facts import gather_runtime
from probe.facts.trials.oci import RuntimeTrialFacts, gather_runtime_trial, sweep_trial_cgroups
from probe.facts.trials.sandbox import SandboxFacts, gather_sandbox
from probe.facts.unknown import know_nothing
from probe.host.background import Beside
from probe.host.child import ChildError, run_child
from probe.host.host import Host
from probe.host.mountinfo import MountTable, parse_mountinfo
from probe.host.namespaces import enter_mount_namespace, enter_node, open_own_proc
from probe.host.sandbox.trial import read_answer, sandbox_child
from probe.reading import Reading, encode
from probe.settings import Settings

_SANDBOX_PATIENCE = 5.0
_FACTS_LIMIT = 64 << 20


def gather_facts(settings: Settings, cri: Beside) -> Facts:
    """All that can be known about this node within the budget, gathered by a child that enters it."""
    budget = settings.budget.total_seconds()
    try:
        answer = run_child(lambda: encode(_gather(settings, cri)), budget + 1, limit=_FACTS_LIMIT)
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
    try_paths = lambda: encode(_try_paths(settings, paths, oci_runtime))  # noqa: E731
    answer = run_child(try_paths, budget + 1, limit=_FACTS_LIMIT)
    return msgspec.json.decode(answer, type=tuple[Attempt, ...])


def _gather(settings: Settings, cri: Beside) -> Facts:
    deadline = time.monotonic() + settings.budget.total_seconds()
    own_proc = open_own_proc()
    with Beside(lambda told: _sandbox(settings, own_proc, told)) as trial:
        host = _host(settings, deadline)
        probe = gather_probe(host, not_entered(enter_node(settings.proc)))
        kubelet = gather_kubelet(host)
        endpoint = (kubelet.value.endpoint.value if kubelet.value else None) or ""
        cri.tell(endpoint)
        userns_fd, namespace = attempts.attempt_namespace(probe, own_proc)
        ids = gather_node_ids(host, kubelet)
        answer = cri_answer(cri, endpoint, host.deadline, settings.slowness)
        runtime = gather_runtime(host, endpoint, answer, root_dir_of(kubelet))
        trial.tell(mount_namespace_of(runtime))
        bench = _bench(settings, userns_fd, deadline, entering(host, runtime))
        facts = gather_node(settings.node_name, host, bench, probe, namespace, kubelet, runtime)
        sandbox = _sandbox_facts(trial, min(deadline, time.monotonic() + _SANDBOX_PATIENCE * settings.slowness))
        facts = forget_container(msgspec.structs.replace(facts, ids=ids, sandbox=sandbox))
        sweep_trial_cgroups()  # of a trial that was killed: the one thing that can be left behind
        if settings.try_runtime:
            facts = msgspec.structs.replace(facts, runtime_trial=_try_runtime(host, facts, deadline))
        return facts


def _host(settings: Settings, deadline: float) -> Host:
    """The node, which until half of the time is over may keep whoever reads it waiting."""
    host = Host()
    host.deadline = deadline - settings.budget.total_seconds() / 2  # the other half is for the attempts
    host.slowness = settings.slowness
    return host


def _bench(settings: Settings, userns_fd: int, deadline: float, prepare: Callable[[], None]) -> attempts.Bench:
    return attempts.Bench(userns_fd, deadline, prepare, attempts.PATIENCE * settings.slowness)


def _try_runtime(host: Host, facts: Facts, deadline: float) -> Reading[RuntimeTrialFacts]:
    """The trial of the runtime comes last: it needs to know all that the others found."""
    enter, root_dir = entering(host, facts.runtime), root_dir_of(facts.kubelet)
    return gather_runtime_trial(
        host, enter, facts.probe, facts.runtime, root_dir, facts.mounts, facts.attempts, deadline
    )


def _sandbox(settings: Settings, own_proc: int, told: Callable[[], str]) -> bytes:
    """The life of the process that tries out a sandbox, in the mount namespace in which the runtime makes them."""

    def enter() -> Reading[bool]:
        entered, link = not_entered(enter_node(settings.proc)), told()
        return enter_mount_namespace(link) if link else entered

    return sandbox_child(own_proc, enter)


def _sandbox_facts(trial: Beside, deadline: float) -> Reading[SandboxFacts]:
    return gather_sandbox(read_answer(trial, deadline))


def _try_paths(settings: Settings, paths: Sequence[str], oci_runtime: str) -> tuple[Attempt, ...]:
    deadline = time.monotonic() + settings.budget.total_seconds()
    own_proc = open_own_proc()
    host = _host(settings, deadline)
    probe, kernel = gather_probe(host, enter_node(settings.proc)), gather_kernel(host)
    table = MountTable(host.read("/proc/self/mountinfo", limit=64 << 20).parse(parse_mountinfo).value or ())
    userns_fd, namespace = attempts.attempt_namespace(probe, own_proc)
    bench = _bench(settings, userns_fd, deadline, prepare=lambda: None)
    held = attempts.held_devices(host.processes().value or (), host)
    found = list(zip(paths, attempts.resolve_paths(host, table, paths, held), strict=True))
    subjects = [attempts.subject_of(table, "path", real.value or path) for path, real in found]
    if userns_fd < 0:
        why = f"no user namespace could be made to try it with: {namespace.message}"
        return tuple(not_tried(subject, namespace.kind or "not-tried", why) for subject in subjects)
    missing = {
        index: not_tried(subjects[index], _kind(real), real.problem)
        for index, (_, real) in enumerate(found)
        if real.value is None
    }
    present = [subject for index, subject in enumerate(subjects) if index not in missing]
    tried = iter(attempts.try_subjects(bench, present, table, held))
    rows = [(subject, missing[i]) if i in missing else next(tried) for i, subject in enumerate(subjects)]
    return attempts.judge([*rows, (attempts.TMPFS, bench.tmpfs())], bench, probe, kernel, oci_runtime)[: len(paths)]


def _kind(reading: Reading[str]) -> Literal["not-permitted", "timed-out", "not-readable"]:
    """Why a path could not be looked at, in the words of an attempt."""
    return reading.kind if reading.kind in ("not-permitted", "timed-out") else "not-readable"
