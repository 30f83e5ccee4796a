"""Volumes of Pods in checks and rows: what would work, what is not proven, and what a driver leads to."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from lab.factory import make_attempt, make_attempts, make_facts, make_refusal, make_unknown_attempt
from probe.checks.pod_volumes import check_volumes
from probe.facts.filesystems.meaning import judge_answer
from probe.facts.filesystems.rules import Circumstances, Subject
from probe.facts.tried import Attempt
from probe.host.idmap import Answer
from probe.make_report import filesystem_row, make_report
from probe.report import Report

GOOD = Circumstances(worked_elsewhere=True, proc_refused=True, seccomp=False, release="6.12.1", oci_runtime="runc")


def report_of(*volumes: Attempt) -> Report:
    facts = make_facts(attempts=(*make_attempts(), *volumes))
    fields: dict[str, Any] = {"agent_version": "1", "probed_at": "t", "expires_at": "t", "duration_seconds": 0.0}
    return make_report(facts, **fields)


@pytest.mark.parametrize(("fstype", "named"), [("ext3", "type ext4"), ("fuse.s3", "FUSE_ALLOW_IDMAP")])
def test_a_refused_volume_says_what_would_work(fstype: str, named: str) -> None:
    """Beside what helps in any case."""
    refused = make_refusal(role="volume", fstype=fstype)
    assert named in check_volumes(make_facts(attempts=(*make_attempts(), refused))).remediation


def test_of_ceph_only_reads_are_proven() -> None:
    """The kernel takes the mapping, and an old MDS then lets no file be created: the row says so, and the check."""
    subject = Subject(role="volume", path="/v", fstype="ceph", device="0:50")
    attempt = judge_answer(subject, Answer("done"), GOOD)
    assert (attempt.result, "only reads" in attempt.reason) == ("supported", True)
    found = check_volumes(make_facts(attempts=(*make_attempts(), attempt)))
    assert (found.status, "only reads" in found.message) == ("pass", True)
    plain = judge_answer(Subject(role="volume", path="/v", fstype="ext4", device="8:1"), Answer("done"), GOOD)
    assert not plain.reason


@pytest.mark.parametrize(
    ("plugin", "fstype", "release", "word"),
    [
        ("efs.csi.aws.com", "nfs4", "6.12.1", "refused"),
        ("ebs.csi.aws.com", "xfs", "6.12.1", "supported"),
        ("s3.csi.aws.com", "fuse", "6.12.1", "refused"),
        ("who.knows", "fuse.x", "6.12.1", "unknown"),
        ("kubernetes.io~nfs", "nfs", "6.12.1", "refused"),
        ("who.knows", "zfs", "6.12.1", "unknown"),
        ("ebs.csi.aws.com", "xfs", "", "unknown"),
    ],
)
def test_what_could_not_be_tried_is_told_by_kernel_and_driver(
    plugin: str, fstype: str, release: str, word: str
) -> None:
    """It stays unknown, and its row says what is to be expected, and that nobody tried it."""
    row = filesystem_row(make_unknown_attempt(role="volume", fstype=fstype, plugin=plugin), release=release)
    assert (row.result, row.driver) == ("unknown", plugin)
    assert str(row.expected).startswith(f"by kernel and driver, not tried: {word}")


def test_rows_name_their_drivers() -> None:
    """Each volume by its driver, no other row, and nothing is expected of what was tried."""
    report = report_of(
        make_attempt(role="volume", fstype="ext4", plugin="ebs.csi.aws.com"),
        make_unknown_attempt(role="volume", fstype="nfs4", plugin="efs.csi.aws.com"),
    )
    assert {row.driver for row in report.filesystems if row.role != "volume"} == {UNSET}
    tried, untried = (row for row in report.filesystems if row.role == "volume")
    assert (tried.driver, tried.expected) == ("ebs.csi.aws.com", UNSET)
    assert (untried.driver, bool(untried.expected)) == ("efs.csi.aws.com", True)
    assert {row.driver: bool(row.expected) for row in report.volumes} == {
        "ebs.csi.aws.com": False,
        "efs.csi.aws.com": True,
    }
