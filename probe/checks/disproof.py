"""Findings that a Pod with a user namespace disproves by having run here.

A finding that says otherwise was either seen, as what the probe tried itself, or it is a claim: what files, limits and
versions were read to mean. Of a claim, a `fail` becomes a warning. An `unknown` of either kind becomes a `pass`. No Pod
disproves what none of a trial meets: the kubelet, its ranges of IDs, what it mounts, volumes.
"""

from __future__ import annotations

from msgspec.structs import replace

from probe.checks.check import NOT_MET, Check, Outcome
from probe.checks.runtime.names import handlers_of
from probe.checks.runtime.pod_trial import trial_of
from probe.facts.model import Facts
from probe.facts.tried import POD_TRIAL, HandlerTrial, PodMount
from probe.finding import Evidence

FOR_LIFE = frozenset({"runtime-confinement"})
"""What binds the daemon as long as it lives: any Pod that it has started settles what is unknown, an ended one, too."""
CLAIMS = frozenset(
    {
        "kernel-proc-sysfs",
        "runtime-user-namespaces",
        "runtime-confinement",
        "runtime-snapshotter",
        "runtime-state-search",
        "runtime-devices",
        "runtime-directories",
        "runtime-limits",
        "runtime-parts",
        "runtime-base-spec",
    }
)
"""What may change at any time: only a Pod of this probe's own trial, with the same handler, disproves it."""
SEEN: dict[str, PodMount | None] = {
    "kernel-user-namespaces": None,
    "filesystem-runtime-root": None,
    "filesystem-overlay-layers": None,
    "filesystem-kubelet-root": "kubelet-root",
    "filesystem-tmpfs": "tmpfs",
}
"""What the probe tries itself, with the mount that a Pod of the trial has to have had: a refusal stands."""


def after_pods(facts: Facts, check: Check, outcome: Outcome, handler: str) -> Outcome:
    """*outcome* of *check*, unless a Pod with a user namespace has shown that it is not so."""
    handler = handler if check.per_handler else ""
    if outcome.stands:
        return outcome
    if outcome.decides and _ran(facts, handler):
        return replace(outcome, decides=False)
    if outcome.status == "unknown" and check.gating:
        ran = _started_by_the_daemon(facts, check.id) or _made_by_the_trial(facts, check.id, handler)
        return _settled(outcome, ran) if ran else outcome
    if outcome.status == "fail" and check.id in CLAIMS and outcome.reason not in NOT_MET:
        ran = _made_by_the_trial(facts, check.id, handler)
        return _disproved(outcome, ran) if ran else outcome
    return outcome


def _settled(outcome: Outcome, ran: Evidence) -> Outcome:
    message = f"a Pod with a user namespace has run here, which settles this: {outcome.message}"
    return Outcome(status="pass", message=message, evidence=(ran, *outcome.evidence))


def _disproved(outcome: Outcome, ran: Evidence) -> Outcome:
    message = f"{outcome.message}; yet a Pod with a user namespace has run here, so this does not stop every Pod"
    return replace(outcome, status="warn", reason="", message=message, evidence=(ran, *outcome.evidence))


def _started_by_the_daemon(facts: Facts, check_id: str) -> Evidence | None:
    """A Pod of any handler; of which one is not told, so all that it may have had run the same OCI runtime.

    Under one confinement runc may fail where crun does not: seen without CAP_SYS_CHROOT.
    """
    ran = facts.userns_pod_runs
    if check_id not in FOR_LIFE or ran.value is not True:
        return None
    of_default = facts.proof.kind == "pod-trial"
    return Evidence(ran.source, "true") if of_default or one_oci_runtime(facts) else None


def one_oci_runtime(facts: Facts) -> bool:
    """True when all handlers that claim user namespaces run the same OCI runtime."""
    able = [one for one in handlers_of(facts) if one.user_namespaces]
    return len({one.oci_runtime.value or one.binary.value or one.name for one in able}) <= 1


def _made_by_the_trial(facts: Facts, check_id: str, handler: str) -> Evidence | None:
    needed = SEEN.get(check_id)
    tried = _ran(facts, handler)
    if check_id not in CLAIMS | SEEN.keys() or tried is None or (needed and needed not in tried.mounts):
        return None
    return Evidence(POD_TRIAL, tried.reason)


def _ran(facts: Facts, handler: str) -> HandlerTrial | None:
    """The Pod of the trial with that handler, if it ran."""
    tried = trial_of(facts, facts.pod_trial.value, handler) if facts.pod_trial.value else None
    return tried if tried and tried.result == "runs" else None
