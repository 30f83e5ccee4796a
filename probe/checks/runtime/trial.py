"""Does the node's own OCI runtime really make a container with a user namespace and idmapped mounts?"""

from __future__ import annotations

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.remedies.node import LEFT_BEHIND, REFUSED_TO_ALL
from probe.checks.remedies.runtime import upgrade_oci
from probe.checks.runtime.names import find_handler, oci_name, runtime_name
from probe.facts.model import Facts, Handler
from probe.facts.tried import NOT_ASKED, RUNTIME_TRIAL, RuntimeTrialFacts, TrialStep
from probe.finding import Evidence
from probe.terms import Level

_WHAT = "whether the OCI runtime makes a container with a user namespace"


def check_runtime_trial(facts: Facts, name: str = "") -> Outcome:
    """A refusal counts against the node, since the same container without a user namespace was created."""
    reading, trial = facts.runtime_trial, facts.runtime_trial.value
    if trial is None:
        if reading == NOT_ASKED:
            return Outcome.skipped("the OCI runtime was not tried: only --try-runtime does that", reading)
        if reading.kind == "absent":
            return Outcome.skipped("the default handler runs no OCI runtime like runc", reading)
        return Outcome.not_read(_WHAT, reading)
    handler = find_handler(facts, name)
    if name and not (handler and handler.binary.value == trial.binary):
        return Outcome.skipped(
            "only the OCI runtime of the default handler is tried", Evidence(RUNTIME_TRIAL, trial.binary)
        )
    binary = oci_name(handler) if handler else trial.binary
    failed, unknown = _of(trial, "failed"), _of(trial, "unknown")
    if failed:
        message = f"{_claim(facts, handler)}the trial of {binary} failed at {_text(failed[0])}"
        remediation = _remediation(facts, handler, trial, failed[0])
        if failed[0].name == "delete":  # the container was created, and ran
            return Outcome.warn(message, *_evidence(trial), remediation=remediation)
        level: Level = "projected" if trial.blame == "tmpfs" else "stateless"
        return Outcome.fail("RuntimeTrialFailed", message, *_evidence(trial), remediation=remediation, level=level)
    if unknown:
        message = f"unknown {_WHAT}: the trial of {binary} ended at {_text(unknown[0])}"
        return Outcome.unknown(unknown[0].kind or "not-tried", message, *_evidence(trial))
    message = f"{binary} made a container with a user namespace and idmapped mounts, and removed it"
    return Outcome.passed(message, *_evidence(trial))


def _of(trial: RuntimeTrialFacts, result: str) -> list[TrialStep]:
    return [step for step in trial.steps if step.result == result]


def _text(step: TrialStep) -> str:
    said = f": “{step.said}”" if step.said else ""
    return f"{step.name}: {step.reason}{said}"


def _claim(facts: Facts, handler: Handler | None) -> str:
    """Name of the layer whose claim the trial disproves."""
    runtime = facts.runtime.value
    if handler and runtime and handler.user_namespaces:
        return f"{runtime_name(runtime)} promises user namespaces, but "
    if handler and handler.oci_idmap.value:
        return f"{oci_name(handler)} says that it can idmap mounts, but "
    return ""


def _evidence(trial: RuntimeTrialFacts) -> list[Evidence]:
    """Each step with its observation and the duration of its command, if any."""
    found = [Evidence(RUNTIME_TRIAL, f"{trial.binary} took {trial.seconds * 1000:.0f} ms, inspection included")]
    for step in trial.steps:
        took = f" ({step.seconds * 1000:.0f} ms)" if step.seconds else ""
        text = f"{step.reason}{f': {step.said}' if step.said else ''}{took}"
        source = f"{RUNTIME_TRIAL}, {step.name}"
        unseen = step.result in ("unknown", "not-tried")
        found.append(Evidence(source, problem=text) if unseen else Evidence(source, text))
    return found


def _remediation(facts: Facts, handler: Handler | None, trial: RuntimeTrialFacts, step: TrialStep) -> str:
    if step.name in ("idmapped binds", "owners") and handler:
        return upgrade_oci(facts, handler)
    if step.name == "delete":
        return LEFT_BEHIND
    role = {"tmpfs": "tmpfs", "kubelet root": "kubelet-root"}.get(trial.blame)
    refused = role and any(one.role == role and one.result == "refused" for one in facts.attempts)
    if refused:
        return REFUSED_TO_ALL
    return ""


CHECKS = (
    Check(
        id="runtime-trial",
        level="stateless",
        gating=False,
        question="Does the OCI runtime really make a container with a user namespace and idmapped mounts?",
        why="A runtime that is too old silently ignores the mapping of a mount: the container starts, and its files "
        "belong to UID 65534. One that is confined or broken fails for reasons that only its own messages tell.",
        reasons=("RuntimeTrialFailed",),
        remediation=GENERIC["runtime-trial"],
        documentation="OCI runtime specification, config.md (mounts) and runtime.md (create, delete); runc(8); crun(1)",
        contradiction=True,
        check=check_runtime_trial,
        per_handler=check_runtime_trial,
    ),
)
