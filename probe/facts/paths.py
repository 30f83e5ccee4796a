"""From paths that somebody asks about to the kernel's answer for each of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import msgspec

from probe.facts.filesystems import attempts
from probe.facts.filesystems.meaning import not_tried
from probe.facts.gather import FACTS_LIMIT, new_bench, node_host
from probe.facts.kernel import gather_kernel, gather_probe
from probe.facts.model import Attempt
from probe.host.child import run_child
from probe.host.mountinfo import MountTable, parse_mountinfo
from probe.host.namespaces import enter_node, open_own_proc
from probe.reading import Reading, encode
from probe.settings import Settings


def gather_paths(settings: Settings, paths: Sequence[str], oci_runtime: str = "") -> tuple[Attempt, ...]:
    """The answer of the kernel for each path; where runtimes differ, for *oci_runtime*, else for all of them.

    *Errors*: TimeoutError and ChildError when the trying process did not come back.
    """
    budget = settings.budget.total_seconds()
    try_paths = lambda: encode(_try_paths(settings, paths, oci_runtime))  # noqa: E731
    answer = run_child(try_paths, budget + 1, limit=FACTS_LIMIT)
    return msgspec.json.decode(answer, type=tuple[Attempt, ...])


def _try_paths(settings: Settings, paths: Sequence[str], oci_runtime: str) -> tuple[Attempt, ...]:
    deadline = time.monotonic() + settings.budget.total_seconds()
    own_proc = open_own_proc()
    host = node_host(settings, deadline)
    probe, kernel = gather_probe(host, enter_node(settings.proc)), gather_kernel(host)
    table = MountTable(host.read("/proc/self/mountinfo", limit=64 << 20).parse(parse_mountinfo).value or ())
    userns_fd, namespace = attempts.attempt_namespace(probe, own_proc)
    bench = new_bench(settings, userns_fd, deadline, prepare=lambda: None)
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
