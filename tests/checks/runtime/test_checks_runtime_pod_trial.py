"""The checks of the Pod trial, in each status that they can have."""

from __future__ import annotations

from typing import Any

import pytest

from lab.factory import make_facts, make_handler, make_runtime, unread
from probe.checks.check import Outcome
from probe.checks.runtime.pod_trial import check_pod_trial, check_pod_trial_projected
from probe.facts.tried import POD_NOT_ASKED, HandlerTrial, PodTrialFacts
from probe.reading import ProblemKind, Reading

BOTH = ("kubelet-root", "tmpfs")


def judge(trial: HandlerTrial | Reading[Any], left: str = "") -> tuple[Outcome, Outcome]:
    """Of the Pod itself, and of the one with a tmpfs."""
    reading = trial
    if isinstance(trial, HandlerTrial):
        reading = Reading("pod trial", PodTrialFacts(handlers=(trial,), left=left, seconds=0.3))
    facts = make_facts(pod_trial=reading)
    return check_pod_trial(facts), check_pod_trial_projected(facts)


def tried(result: Any, **fields: Any) -> HandlerTrial:
    return HandlerTrial(**{"handler": "", "result": result, "reason": "did something"} | fields)


@pytest.mark.parametrize(
    ("trial", "stateless", "projected"),
    [
        (POD_NOT_ASKED, ("skipped", ""), ("skipped", "")),
        (Reading.without("CRI", "absent", "no runtime handler claims it"), ("skipped", ""), ("skipped", "")),
        (unread("pod trial", "timed-out"), ("unknown", "TimedOut"), ("unknown", "TimedOut")),
        (unread("pod trial", "not-tried"), ("unknown", "NotTried"), ("unknown", "NotTried")),
        (tried("runs", mounts=BOTH), ("pass", ""), ("pass", "")),
        (tried("runs", mounts=("kubelet-root",)), ("pass", ""), ("unknown", "NotTried")),
        (tried("runs", mounts=("tmpfs",)), ("unknown", "NotTried"), ("pass", "")),
        (tried("runs"), ("unknown", "NotTried"), ("unknown", "NotTried")),
        (tried("refused", step="RunPodSandbox"), ("fail", "PodRefused"), ("unknown", "NotTried")),
        (
            tried("refused", refused_mount="tmpfs", mounts=("kubelet-root",)),
            ("pass", ""),
            ("fail", "PodTmpfsRefused"),
        ),
        (tried("unknown", kind="timed-out"), ("unknown", "TimedOut"), ("unknown", "NotTried")),
        (tried("unknown", kind="not-readable", control="fails"), ("unknown", "NotReadable"), ("unknown", "NotTried")),
        (tried("runs", handler="crun", mounts=BOTH), ("skipped", ""), ("skipped", "")),
    ],
)
def test_each_status(
    trial: HandlerTrial | Reading[Any], stateless: tuple[str, str], projected: tuple[str, str]
) -> None:
    """A refusal fails the level of what was refused; what was not tried is unknown, or skipped if nobody asked."""
    assert tuple((one.status, one.reason) for one in judge(trial)) == (stateless, projected)


def test_each_handler_has_its_own_trial() -> None:
    """What is said of a handler is what became of its own Pod."""
    trials = (tried("runs", mounts=BOTH), tried("refused", handler="crun", step="StartContainer", said="no"))
    reading = Reading("pod trial", PodTrialFacts(handlers=trials, seconds=0.6))
    statuses = {name: check_pod_trial(make_facts(pod_trial=reading), name).status for name in ("", "crun", "old")}
    assert statuses == {"": "pass", "crun": "fail", "old": "skipped"}


@pytest.mark.parametrize(("changes", "status"), [({}, "fail"), ({"binary": "/usr/bin/crun"}, "skipped")])
def test_a_handler_that_runs_the_same_as_a_tried_one_shares_its_fate(changes: dict[str, str], status: str) -> None:
    """containerd names its default handler twice, as "" and as runc; one Pod speaks for both."""
    reading = Reading("pod trial", PodTrialFacts(handlers=(tried("refused", step="StartContainer"),), seconds=0.3))
    handlers = Reading("CRI", (make_handler(), make_handler(name="runc", **changes)))
    facts = make_facts(pod_trial=reading, runtime=make_runtime(handlers=handlers))
    assert check_pod_trial(facts, "runc").status == status


def test_own_words() -> None:
    """A failure carries what the runtime said, and that the same Pod runs without a user namespace."""
    found, _ = judge(tried("refused", step="CreateContainer", said="mkdir /tmp: read-only", control="runs"))
    assert "mkdir /tmp: read-only" in found.message
    assert "CreateContainer" in found.message
    assert [one.value for one in found.evidence if "without a user namespace" in one.source] == ["runs"]


def test_what_is_left_is_told() -> None:
    """A Pod that ran and could not be removed is a warning that says how to remove it."""
    found, _ = judge(tried("runs", mounts=BOTH), left="UNKNOWN: busy")
    assert found.status == "warn"
    assert "busy" in found.message
    assert "userns-probe.io/trial=1" in found.remediation


@pytest.mark.parametrize("kind", ["not-permitted", "timed-out", "not-readable", "not-tried"])
def test_evidence_of_what_nobody_knows_is_a_problem(kind: ProblemKind) -> None:
    """It is never told as something that was seen."""
    found, _ = judge(tried("unknown", kind=kind))
    assert any(one.problem == "did something" for one in found.evidence)
