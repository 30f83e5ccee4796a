"""The catalogue: what is said of a finding besides what its check answered."""

from __future__ import annotations

import pytest

from lab.factory import (
    absent,
    make_attempts,
    make_facts,
    make_handler,
    make_refusal,
    make_runtime,
    make_unknown_attempt,
)
from probe.checks.catalog import CHECKS, judge, judge_again
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
