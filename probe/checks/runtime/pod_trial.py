"""Does the node's own container runtime really run a Pod with a user namespace?"""

from __future__ import annotations

from probe.checks.check import Check, Outcome
from probe.checks.remedies.generic import GENERIC
from probe.checks.runtime.names import handlers_of, runtime_name
from probe.facts.model import Facts
from probe.facts.tried import POD_NOT_ASKED, POD_TRIAL, HandlerTrial, PodTrialFacts
from probe.finding import Evidence

_WHAT = "whether the container runtime runs a Pod with a user namespace"
_NO_CONTROL = (
    "Compare with scheduled Pods: a network plugin that asks the API server for each Pod refuses the trial's.\n"
    "  kubectl get pods -A --field-selector spec.nodeName=$(hostname)"
)


def check_pod_trial(facts: Facts, handler: str = "") -> Outcome:
    """Judge the trial Pod with its image and a mount of the kubelet's root."""
    skipped, tried = _tried(facts, handler)
    if tried is None:
        return skipped
    name = _name(facts)
    if tried.result == "unknown":
        message = f"unknown {_WHAT}: {_text(name, tried)}"
        remediation = _NO_CONTROL if tried.control in ("fails", "unknown") else ""
        return Outcome.unknown(tried.kind or "not-tried", message, *_evidence(facts, tried), remediation=remediation)
    if tried.result == "refused" and not tried.refused_mount:
        return Outcome.fail("PodRefused", _text(name, tried), *_evidence(facts, tried))
    message = f"{name} ran a Pod with a user namespace"
    if "kubelet-root" not in tried.mounts:
        message += "; no directory of the kubelet could be mounted into it"
        return Outcome.unknown("not-tried", message, *_evidence(facts, tried))
    return _unless_left(facts, Outcome.passed(message, *_evidence(facts, tried)))


def check_pod_trial_projected(facts: Facts, handler: str = "") -> Outcome:
    """Judge the same Pod with an additional idmapped mount of a tmpfs."""
    skipped, tried = _tried(facts, handler)
    if tried is None:
        return skipped
    if tried.refused_mount == "tmpfs":
        return Outcome.fail("PodTmpfsRefused", _text(_name(facts), tried), *_evidence(facts, tried))
    if tried.result != "runs":
        return Outcome.unknown(
            "not-tried", "the Pod of the trial did not run, so it was not tried with a tmpfs", *_evidence(facts, tried)
        )
    if "tmpfs" not in tried.mounts:
        message = "the probe could mount no tmpfs of this node into the Pod of the trial"
        return Outcome.unknown("not-tried", message, *_evidence(facts, tried))
    return Outcome.passed(f"{_name(facts)} ran a Pod with an idmapped tmpfs", *_evidence(facts, tried))


def _tried(facts: Facts, handler: str) -> tuple[Outcome, HandlerTrial | None]:
    """(outcome, trial of the handler); the outcome explains a missing trial."""
    reading = facts.pod_trial
    if reading == POD_NOT_ASKED:
        return Outcome.skipped("no Pod was tried: only --try-pod does that", reading), None
    if reading.value is None:
        if reading.kind == "absent":
            return Outcome.skipped("no runtime handler claims user namespaces, so no Pod was tried", reading), None
        return Outcome.not_read(_WHAT, reading), None
    tried = trial_of(facts, reading.value, handler)
    return Outcome.skipped("no Pod was tried with this handler", reading_of(reading.value)), tried


def trial_of(facts: Facts, trial: PodTrialFacts, handler: str) -> HandlerTrial | None:
    """The trial of that handler, or else of one that runs the same: each OCI runtime is tried once per snapshotter."""
    handlers = handlers_of(facts)
    asked = next((one for one in handlers if one.name == handler and one.binary.value), None)
    same = (one.name for one in handlers if asked and one.runs_the_same(asked))
    return next((tried for name in (handler, *same) if (tried := trial.of(name))), None)


def reading_of(trial: PodTrialFacts) -> Evidence:
    """Duration of the trial, the handlers tried, and whether an earlier probe did it."""
    names = ", ".join(one.handler or "the default handler" for one in trial.handlers)
    when = " in an earlier probe, and nothing that it depends on has changed" if trial.kept else ""
    return Evidence(POD_TRIAL, f"took {trial.seconds * 1000:.0f} ms for {names}{when}")


def _unless_left(facts: Facts, outcome: Outcome) -> Outcome:
    """A warning where something of the trial is still there."""
    left = facts.pod_trial.value.left if facts.pod_trial.value else ""
    if not left:
        return outcome
    message = f"{outcome.message}, which could not be removed: {left}"
    how = "The next probe with --try-pod removes it. To remove it now:\n"
    how += "  crictl rmp -f $(crictl pods -q --label userns-probe.io/trial=1)"
    return Outcome.warn(message, *outcome.evidence, remediation=how)


def _name(facts: Facts) -> str:
    return runtime_name(facts.runtime.value) if facts.runtime.value else "the container runtime"


def _text(name: str, tried: HandlerTrial) -> str:
    where = f" ({tried.step})" if tried.step else ""
    said = f": “{tried.said}”" if tried.said else ""
    return f"{name} {tried.reason}{where}{said}" if tried.step else f"{tried.reason}{said}"


def _evidence(facts: Facts, tried: HandlerTrial) -> list[Evidence]:
    found = [reading_of(facts.pod_trial.value)] if facts.pod_trial.value else []
    source = f"{POD_TRIAL}, {tried.step or 'Pod'}"
    text = f"{tried.reason}{f': {tried.said}' if tried.said else ''}"
    found.append(Evidence(source, problem=text) if tried.result == "unknown" else Evidence(source, text))
    if tried.control:
        found.append(Evidence(f"{POD_TRIAL}, the same Pod without a user namespace", tried.control))
    if tried.mounts:
        found.append(Evidence(f"{POD_TRIAL}, idmapped mounts", ", ".join(tried.mounts)))
    return found


_DOCUMENTATION = "docs/pod-trial.md; Kubernetes CRI, runtime/v1 (RunPodSandbox, CreateContainer, StartContainer)"

CHECKS = (
    Check(
        id="pod-trial",
        level="stateless",
        gating=True,
        question="Does the node's own container runtime really run a Pod with a user namespace?",
        why="Whether a Pod starts also depends on the runtime's base specification, hooks, snapshotter, network "
        "plugins, cgroups, security modules and directories. Only a Pod meets them all.",
        reasons=("PodRefused",),
        remediation=GENERIC["pod-trial"],
        documentation=_DOCUMENTATION,
        contradiction=True,
        check=check_pod_trial,
        per_handler=check_pod_trial,
    ),
    Check(
        id="pod-trial-projected",
        level="projected",
        gating=False,
        question="Does such a Pod run with an idmapped tmpfs, as tokens and Secrets are?",
        why="Each Pod with a service account token or a Secret has one.",
        reasons=("PodTmpfsRefused",),
        remediation=GENERIC["pod-trial-projected"],
        documentation=_DOCUMENTATION,
        contradiction=True,
        check=check_pod_trial_projected,
        per_handler=check_pod_trial_projected,
    ),
)
