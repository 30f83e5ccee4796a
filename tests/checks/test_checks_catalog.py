"""The catalogue: what is said of a finding besides what its check answered."""

from __future__ import annotations

import pytest

from lab.factory import absent, make_attempts, make_facts, make_refusal, make_unknown_attempt
from probe.checks.catalog import CHECKS, judge
from probe.checks.check import UnknownReason


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


def _finding(check_id, facts):  # type: ignore[no-untyped-def]
    return next(finding for finding in judge(facts) if finding.id == check_id)
