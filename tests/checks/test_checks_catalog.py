"""The catalogue: what is said of a finding besides what its check answered."""

from __future__ import annotations

import pytest

from lab.factory import NAMESPACE_LIMITS as LIMITS
from lab.factory import (
    absent,
    make_attempt,
    make_attempts,
    make_facts,
    make_handler,
    make_ids,
    make_kernel,
    make_kubelet,
    make_probe,
    make_refusal,
    make_runtime,
    make_unknown_attempt,
    unread,
)
from probe.checks.catalog import CHECKS, judge, judge_again
from probe.facts.model import Facts
from probe.facts.unknown import unknown_facts
from probe.terms import UnknownReason


def test_ids_are_unique() -> None:
    """One id, one check."""
    assert len({check.id for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("kind", ["not-permitted", "timed-out", "not-readable", "not-tried"])
def test_an_unknown_gets_no_remedy_for_a_failure(kind: str) -> None:
    """Nobody is told to boot another kernel because the probe could not ask this one."""
    tmpfs = make_unknown_attempt(role="tmpfs", fstype="tmpfs", kind=kind)
    unknown = _finding("filesystem-tmpfs", make_facts(attempts=make_attempts(tmpfs=tmpfs)))
    refused = make_refusal(role="tmpfs", fstype="tmpfs")
    failed = _finding("filesystem-tmpfs", make_facts(attempts=make_attempts(tmpfs=refused)))
    assert (unknown.status, failed.status) == ("unknown", "fail")
    assert "Linux" in failed.remediation
    assert unknown.remediation
    assert "Linux" not in unknown.remediation


def test_every_unknown_reason_says_how_to_find_out() -> None:
    """On a node where nothing is known each unknown has something to do next."""
    findings = judge(make_facts(kubelet=absent("/proc"), runtime=absent("CRI"), mounts=absent("/proc"), attempts=()))
    unknown = [finding for finding in findings if finding.status == "unknown"]
    assert unknown
    for finding in unknown:
        assert finding.reason in UnknownReason.__args__  # type: ignore[attr-defined]
        assert finding.remediation


SITUATIONS = {
    "all is well": make_facts(),
    "nothing is known": unknown_facts("node-1", "timed-out", "it did not come back"),
    "no kubelet": make_facts(kubelet=absent("processes"), runtime=absent("CRI"), mounts=absent("/proc"), attempts=()),
    "nothing could be read": make_facts(
        kubelet=unread(), runtime=unread(), mounts=unread(), ids=unread(), pods=unread(), hooks=unread(), attempts=()
    ),
    "no limits, no switches": make_facts(kernel=make_kernel(namespace_limits=dict.fromkeys(LIMITS, absent("/proc")))),
    "limits of 0": make_facts(kernel=make_kernel(namespace_limits=dict.fromkeys(LIMITS, 0))),
    "a gate that is off": make_facts(kubelet=make_kubelet(version="1.32.1", gate=False)),
    "a range that is not known": make_facts(ids=make_ids(account=unread())),
    "a range that is refused": make_facts(kubelet=make_kubelet(ids_per_pod=3)),
    "no promise": make_facts(runtime=make_runtime(handlers=(make_handler(user_namespaces=False, oci_idmap=False),))),
    "an old runtime": make_facts(runtime=make_runtime(version="1.7.24", handlers=())),
    "SELinux": make_facts(kernel=make_kernel(selinux_enforcing=True)),
    "another machine": make_facts(probe=make_probe(supported_architecture=False)),
    "volumes": make_facts(attempts=(*make_attempts(), make_attempt())),
}


@pytest.mark.parametrize("handler", ["", "gone"])
@pytest.mark.parametrize("facts", SITUATIONS.values(), ids=SITUATIONS)
def test_no_finding_without_evidence(facts: Facts, handler: str) -> None:
    """Whatever a check says, it says what it was that it saw, or could not see, and where."""
    for finding in judge(facts, handler):
        assert finding.evidence, finding
        assert all(seen.source and (seen.value or seen.problem) for seen in finding.evidence), finding


@pytest.mark.parametrize("facts", SITUATIONS.values(), ids=SITUATIONS)
def test_only_what_is_not_well_gets_a_remedy(facts: Facts) -> None:
    """Nobody is told to fix what passes or does not apply, and nobody is left alone with the rest."""
    for finding in judge(facts):
        assert bool(finding.remediation) == (finding.status not in ("pass", "skipped")), finding


def test_only_checks_that_depend_on_the_handler_run_again() -> None:
    """For another handler the findings are those of a whole judgement of it, and most checks are not run anew."""
    handlers = (make_handler(), make_handler(name="old", oci_idmap=False, snapshotter="native"))
    facts = make_facts(runtime=make_runtime(handlers=handlers))
    default = judge(facts)
    again = judge_again(facts, "old", default)
    assert again == judge(facts, "old")
    assert again != default
    for check, before, after in zip(CHECKS, default, again, strict=True):
        assert check.per_handler or after is before


def _finding(check_id, facts):  # type: ignore[no-untyped-def]
    return next(finding for finding in judge(facts) if finding.id == check_id)
