"""The check of the runtime trial, in each status that it can have."""

from __future__ import annotations

from typing import Any

import pytest

from lab.factory import make_attempts, make_facts, make_handler, make_refusal, make_runtime, unread
from probe.checks import catalog
from probe.checks.check import Outcome
from probe.checks.remedies.node import REFUSED_TO_ALL
from probe.checks.runtime.trial import CHECKS, check_runtime_trial
from probe.facts.tried import NOT_ASKED, STEP_NAMES, RuntimeTrialFacts, TrialStep
from probe.reading import Reading
from probe.verdict import conclude


def make_trial(**overrides: Any) -> RuntimeTrialFacts:
    """A trial in which every step worked; a keyword with a step's name and underscores changes that step."""
    changes = {name: overrides.pop(name.replace(" ", "_"), {}) for name in STEP_NAMES}
    steps = tuple(
        TrialStep(**{"name": name, "result": "passed", "reason": "worked", "seconds": 0.04} | changes[name])
        for name in STEP_NAMES
    )
    return RuntimeTrialFacts(**{"binary": "/usr/bin/runc", "steps": steps, "seconds": 0.16} | overrides)


def judge(trial: RuntimeTrialFacts | Reading[Any], handler: str = "", **facts: Any) -> Outcome:
    reading = trial if isinstance(trial, Reading) else Reading("runtime trial", trial)
    return check_runtime_trial(make_facts(runtime_trial=reading, **facts), handler)


IGNORED = {
    "result": "failed",
    "reason": "silently ignores the mapping of kubelet root and tmpfs: mountinfo does not say idmapped",
}
REFUSED = {"result": "failed", "reason": "refuses an idmapped mount of a tmpfs", "said": "no luck"}


def test_pass() -> None:
    """Every step worked; the evidence says how long each command took."""
    outcome = judge(make_trial())
    assert (outcome.status, outcome.reason) == ("pass", "")
    assert outcome.message == (
        "runc 1.3.5 (/usr/bin/runc) made a container with a user namespace and idmapped mounts, and removed it"
    )
    assert [one.source for one in outcome.evidence[1:]] == [f"runtime trial, {name}" for name in STEP_NAMES]
    assert outcome.evidence[0].value.startswith("/usr/bin/runc took 160 ms")
    assert outcome.evidence[1].value == "worked (40 ms)"


def test_silent_ignoring_is_a_contradiction_of_what_cri_says() -> None:
    """The mapping is ignored though CRI promises user namespaces: a failure that names the layer and the step."""
    outcome = judge(make_trial(idmapped_binds=IGNORED))
    assert (outcome.status, outcome.reason) == ("fail", "RuntimeTrialFailed")
    assert outcome.message == (
        "containerd 2.1.9 promises user namespaces, but the trial of runc 1.3.5 (/usr/bin/runc) failed at "
        "idmapped binds: silently ignores the mapping of kubelet root and tmpfs: mountinfo does not say idmapped"
    )
    assert outcome.remediation.startswith("Install runc 1.2 or newer as /usr/bin/runc. Restart the runtime")
    assert CHECKS[0].contradiction
    assert not CHECKS[0].gating


@pytest.mark.parametrize(
    ("blame", "level"),
    [
        ("tmpfs", "projected"),
        ("kubelet root", "stateless"),
        ("mappings of mounts", "stateless"),
        ("user namespace", "stateless"),
    ],
)
def test_a_failed_trial_beside_a_node_called_ready(blame: str, level: str) -> None:
    """It decides the verdict, from the first level on whose Pods need what was refused."""
    trial = Reading("runtime trial", make_trial(create=REFUSED, blame=blame))
    conclusion = conclude(catalog.judge(make_facts(runtime_trial=trial)))
    assert (conclusion.verdict, conclusion.reason) == ("not-ready", "RuntimeTrialFailed")
    assert next(name for name, verdict in conclusion.levels.items() if verdict == "not-ready") == level


def test_without_a_promise_nobody_is_contradicted() -> None:
    """The same where neither CRI nor the binary promised it; where the binary did, it is named."""
    silent = make_runtime(handlers=(make_handler(user_namespaces=False, oci_idmap=False),))
    assert judge(make_trial(idmapped_binds=IGNORED), runtime=silent).message.startswith("the trial of runc")
    binary = make_runtime(handlers=(make_handler(user_namespaces=None),))
    message = judge(make_trial(idmapped_binds=IGNORED), runtime=binary).message
    assert message.startswith("runc 1.3.5 (/usr/bin/runc) says that it can idmap mounts, but the trial of runc")


def test_the_runtimes_own_words() -> None:
    """A refused container: the step, its meaning, and what the runtime said."""
    outcome = judge(make_trial(create=REFUSED, blame="tmpfs"))
    assert (outcome.status, outcome.reason, outcome.level) == ("fail", "RuntimeTrialFailed", "projected")
    assert outcome.message.endswith("failed at create: refuses an idmapped mount of a tmpfs: “no luck”")
    assert outcome.remediation == ""  # what the check declares


@pytest.mark.parametrize(("blame", "role"), [("tmpfs", "tmpfs"), ("kubelet root", "kubelet_root")])
def test_what_the_kernel_refuses_is_not_the_runtimes_fault(blame: str, role: str) -> None:
    """Where the live attempt was refused as well, the remediation points there."""
    refused = make_attempts(**{role: make_refusal(role=role.replace("_", "-"))})
    outcome = judge(make_trial(create=REFUSED, blame=blame), attempts=refused)
    assert outcome.remediation == REFUSED_TO_ALL


def test_a_container_that_cannot_be_removed() -> None:
    """It ran, so this is a warning only, with a remediation of its own."""
    outcome = judge(make_trial(delete={"result": "failed", "reason": "gave up with exit status 1", "said": "busy"}))
    assert outcome.status == "warn"
    assert outcome.message.endswith("failed at delete: gave up with exit status 1: “busy”")
    assert "crictl ps -a" in outcome.remediation


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("timed-out", "TimedOut"),
        ("not-readable", "NotReadable"),
        ("not-permitted", "NotPermitted"),
        ("not-tried", "NotTried"),
    ],
)
def test_unknown(kind: str, reason: str) -> None:
    """A step that nobody can judge is unknown for its own reason."""
    outcome = judge(make_trial(maps={"result": "unknown", "kind": kind, "reason": "no answer in time"}))
    assert (outcome.status, outcome.reason) == ("unknown", reason)
    assert outcome.message.endswith("the trial of runc 1.3.5 (/usr/bin/runc) ended at maps: no answer in time")


def test_a_failed_step_counts_more_than_an_unknown_one() -> None:
    """What was disproved stays disproved, whatever came after."""
    unknown = {"result": "unknown", "kind": "timed-out", "reason": "no answer in time"}
    assert judge(make_trial(idmapped_binds=IGNORED, delete=unknown)).status == "fail"


def test_nothing_was_read() -> None:
    """A trial that did not come about is unknown, for the reason of its reading."""
    outcome = judge(unread("runtime trial", "timed-out"))
    assert (outcome.status, outcome.reason) == ("unknown", "TimedOut")


def test_not_asked_for() -> None:
    """Without the option the question does not arise."""
    assert judge(NOT_ASKED).status == "skipped"


def test_another_problem_before_the_trial_is_not_taken_for_not_asked() -> None:
    """Not tried for want of time is unknown."""
    late: Reading[RuntimeTrialFacts] = Reading.without("runtime trial", "not-tried", "too little time was left for it")
    assert (judge(late).status, judge(late).reason) == ("unknown", "NotTried")


def test_no_oci_runtime() -> None:
    """Behind a shim of virtual machines there is nothing to be tried."""
    nothing: Reading[RuntimeTrialFacts] = Reading.without("CRI", "absent", "its shim runs no runtime like runc")
    assert judge(nothing).status == "skipped"


def test_another_handler() -> None:
    """The trial speaks for handlers that run the same binary, and for no other."""
    same = make_handler(name="same")
    other = make_handler(name="other", binary="/usr/bin/crun")
    runtime = make_runtime(handlers=(make_handler(), same, other))
    assert judge(make_trial(), runtime=runtime, handler="same").status == "pass"
    assert judge(make_trial(), runtime=runtime, handler="other").status == "skipped"
