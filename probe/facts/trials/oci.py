"""Trial of the node's OCI runtime: its plan and its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from probe.facts.filesystems.attempts import existing
from probe.facts.model import MountFacts, ProbeFacts, RuntimeFacts
from probe.facts.trials.oci_meaning import judge_trial
from probe.facts.tried import Attempt, RuntimeTrialFacts, doubt_of
from probe.host.host import Host
from probe.host.oci_trial import SOURCE
from probe.host.oci_trial.trial import TrialPlan, try_runtime
from probe.reading import Reading, or_problem

_TIMEOUT = 15.0  # seconds for the whole trial, which normally takes 0.2


@or_problem
def gather_runtime_trial(
    host: Host,
    enter: Callable[[], object],
    probe: ProbeFacts,
    runtime: Reading[RuntimeFacts],
    kubelet_root: str,
    mounts: Reading[MountFacts],
    attempts: Sequence[Attempt],
    deadline: float,
) -> Reading[RuntimeTrialFacts]:
    """Try the OCI runtime of the default handler; needs all other facts.

    *enter* moves a child into the mount namespace in which the runtime creates containers, see `try_runtime`;
    *deadline* in seconds of time.monotonic().
    """
    plan = plan_trial(host, probe, runtime, kubelet_root, mounts, attempts).need()
    deadline = min(deadline, time.monotonic() + _TIMEOUT * host.slowness)
    answer = try_runtime(plan, enter, deadline, host.slowness)
    return judge_trial(plan, answer, _confinement_of_probe(probe, runtime))


@or_problem
def plan_trial(
    host: Host,
    probe: ProbeFacts,
    runtime: Reading[RuntimeFacts],
    kubelet_root: str,
    mounts: Reading[MountFacts],
    attempts: Sequence[Attempt],
) -> Reading[TrialPlan]:
    """Plan of the trial; a problem if there is nothing to try, `absent` if the default handler runs no OCI runtime.

    Only a binary with a known version is run: then its daemon belongs to the node, so no Pod has installed it.
    """
    if runtime.value is None:
        return _not_tried(runtime, runtime.problem)
    handlers = runtime.value.handlers
    handler = next((one for one in handlers.value or () if not one.name), None)
    if handler is None:
        return _not_tried(handlers, handlers.problem or "CRI names no default handler")
    binary = handler.binary.need()
    if handler.oci_version.value is None:
        return _not_tried(handler.oci_version, f"not run: {handler.oci_version.problem}")
    if obstacle := _obstacle(probe):
        return Reading.without(SOURCE, "not-permitted", obstacle)
    if any(one.role == "kubelet-root" and one.kind == "timed-out" for one in attempts):
        return Reading.without(SOURCE, "timed-out", "not tried: the kubelet's root directory does not answer")
    pods = existing(host, f"{kubelet_root}/pods").need()
    covered = mounts.value is not None and not mounts.value.proc.visible
    return Reading(SOURCE, TrialPlan(binary=binary, kubelet_root=pods, proc_covered=covered))


def _not_tried(reading: Reading[Any], problem: str) -> Reading[TrialPlan]:
    return Reading.without(reading.source, doubt_of(reading.kind), problem)


def _obstacle(probe: ProbeFacts) -> str:
    """Reason why a runtime started by the probe could not work at all; else empty."""
    if not probe.supported_architecture:
        return "not tried: unsupported architecture"
    if probe.in_initial_user_namespace.value is not True:
        return "not tried: the probe is not known to be in the initial user namespace"
    return "not tried: the probe is in a chroot" if probe.chrooted else ""


def _confinement_of_probe(probe: ProbeFacts, runtime: Reading[RuntimeFacts]) -> str:
    """Privilege that the runtime's daemon has and the probe lacks, which could explain a failure; else empty."""
    daemon = runtime.value.confinement.value if runtime.value else None
    if probe.seccomp.value != 0 and (daemon is None or daemon.seccomp.value != probe.seccomp.value):
        return "the probe runs under a seccomp filter"
    if daemon is None or daemon.effective_capabilities.value is None:
        return "unknown which privileges the runtime has and the probe lacks"
    missing = daemon.effective_capabilities.value & ~probe.effective_capabilities
    return f"the probe lacks capabilities that the runtime has ({missing:016x})" if missing else ""
