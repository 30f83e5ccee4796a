"""The trial of the node's own OCI runtime: what is tried, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from probe.facts.filesystems.attempts import existing
from probe.facts.model import MountFacts, ProbeFacts, RuntimeFacts
from probe.facts.trials.oci_meaning import judge_trial
from probe.facts.tried import NOT_ASKED, STEP_NAMES, Attempt, Blame, RuntimeTrialFacts, TrialStep
from probe.host.host import Host
from probe.host.oci_trial.trial import SOURCE, TrialPlan, sweep_trial_cgroups, try_runtime
from probe.reading import ProblemKind, Reading, problem_of

__all__ = (
    "NOT_ASKED",
    "SOURCE",
    "STEP_NAMES",
    "Blame",
    "RuntimeTrialFacts",
    "TrialStep",
    "gather_runtime_trial",
    "judge_trial",
    "plan_trial",
    "sweep_trial_cgroups",
)

_PATIENCE = 15.0  # seconds for the whole trial; it takes a fifth of one

NOT_ASKED: Reading[RuntimeTrialFacts] = Reading.without("--try-runtime", "not-tried", "not asked for")
"""The reading of a probe that was not asked to try the runtime."""


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
    """Try the default handler's OCI runtime; all else must be known before.

    *enter* brings a child into the mount namespace in which the runtime makes containers, as `try_runtime` wants it;
    *deadline* in seconds of time.monotonic().
    """
    plan = plan_trial(host, probe, runtime, kubelet_root, mounts, attempts)
    if plan.value is None:
        return problem_of(plan)
    deadline = min(deadline, time.monotonic() + _PATIENCE * host.slowness)
    answer = try_runtime(plan.value, enter, deadline, host.slowness)
    return judge_trial(plan.value, answer, _confinement_of_probe(probe, runtime))


def plan_trial(
    host: Host,
    probe: ProbeFacts,
    runtime: Reading[RuntimeFacts],
    kubelet_root: str,
    mounts: Reading[MountFacts],
    attempts: Sequence[Attempt],
) -> Reading[TrialPlan]:
    """What to try; a problem where nothing is, absent where the default handler runs no OCI runtime at all.

    Only a binary that told its version is run: then its daemon belongs to the node, and no Pod can have put it there.
    """
    if runtime.value is None:
        return _not_tried(runtime, runtime.problem)
    handlers = runtime.value.handlers
    handler = next((one for one in handlers.value or () if not one.name), None)
    if handler is None:
        return _not_tried(handlers, handlers.problem or "CRI names no default handler")
    if handler.binary.value is None:
        return Reading(handler.binary.source, None, handler.binary.problem, handler.binary.kind)
    if handler.oci_version.value is None:
        return _not_tried(handler.oci_version, f"not run: {handler.oci_version.problem}")
    if obstacle := _obstacle(probe):
        return Reading.without(SOURCE, "not-permitted", obstacle)
    if any(one.role == "kubelet-root" and one.kind == "timed-out" for one in attempts):
        return Reading.without(SOURCE, "timed-out", "not tried: the kubelet's root directory does not answer")
    pods = existing(host, f"{kubelet_root}/pods")
    if pods.value is None:
        return Reading(pods.source, None, pods.problem, pods.kind)
    covered = mounts.value is not None and not mounts.value.proc.visible
    return Reading(SOURCE, TrialPlan(binary=handler.binary.value, kubelet_root=pods.value, proc_covered=covered))


def _not_tried(reading: Reading[Any], problem: str) -> Reading[TrialPlan]:
    kind: ProblemKind = "not-readable" if reading.kind in (None, "absent") else reading.kind
    return Reading.without(reading.source, kind, problem)


def _obstacle(probe: ProbeFacts) -> str:
    """Why a runtime that the probe runs could not even begin."""
    if not probe.supported_architecture:
        return "not tried: unsupported architecture"
    if probe.in_initial_user_namespace.value is not True:
        return "not tried: the probe is not known to be in the initial user namespace"
    return "not tried: the probe is in a chroot" if probe.chrooted else ""


def _confinement_of_probe(probe: ProbeFacts, runtime: Reading[RuntimeFacts]) -> str:
    """What the runtime's daemon may do and the probe may not, so that a failure could be the probe's; else empty."""
    daemon = runtime.value.confinement.value if runtime.value else None
    if probe.seccomp.value != 0 and (daemon is None or daemon.seccomp.value != probe.seccomp.value):
        return "the probe runs under a seccomp filter"
    if daemon is None or daemon.effective_capabilities.value is None:
        return "it is not known what the runtime may do that the probe may not"
    missing = daemon.effective_capabilities.value & ~probe.effective_capabilities
    return f"the probe lacks capabilities that the runtime has ({missing:016x})" if missing else ""
