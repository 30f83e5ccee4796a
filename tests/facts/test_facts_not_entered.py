"""A node that could not be entered: what is still said of it."""

from __future__ import annotations

import pytest
from probe.facts.filesystems.rules import Subject
from probe.facts.tried import Role

from lab.factory import make_attempt, make_facts, make_probe, unread
from probe.facts.not_entered import forget_container, not_entered, out_of_sight
from probe.host.mountinfo import MountTable, parse_mountinfo
from probe.reading import Reading
from probe.report import make_report

ENTERED = Reading("/proc/1/ns/mnt", True)
REFUSED: Reading[bool] = Reading.without("/host/proc/1/ns/mnt", "not-permitted", "Permission denied")
CONTAINER = b"""\
20 1 0:20 / / rw,relatime - overlay overlay rw
21 20 0:21 / /var/lib/kubelet ro,relatime master:1 - ext4 /dev/vda1 rw
"""
TABLE = MountTable(parse_mountinfo(CONTAINER))


def subject(role: Role, path: str) -> Subject:
    return Subject(role=role, path=path, fstype="overlay", device="0:20")


def test_a_missing_proc_means_that_nobody_gave_it() -> None:
    """That the node's /proc is not there is no property of the node."""
    absent: Reading[bool] = Reading.without("/host/proc/1/ns/mnt", "absent", "No such file or directory")
    assert not_entered(absent) == Reading.without("/host/proc/1/ns/mnt", "not-permitted", "No such file or directory")
    assert not_entered(REFUSED) == REFUSED
    assert not_entered(ENTERED) == ENTERED


@pytest.mark.parametrize(
    ("path", "entered", "table", "tried"),
    [
        ("/var/lib/containerd", REFUSED, TABLE, False),
        ("/var/lib/containerd", REFUSED, MountTable(()), False),
        ("/var/lib/containerd", ENTERED, TABLE, True),
        ("/var/lib/kubelet/pods", REFUSED, TABLE, True),
    ],
)
def test_what_is_tried(path: str, entered: Reading[bool], table: MountTable, tried: bool) -> None:
    """Not what lies in the container's own root, unless that is the node's; but what was mounted for us."""
    row = out_of_sight(subject("runtime-root", path), entered, table)
    assert (row is None) == tried
    if row:
        unseen, attempt = row
        assert (unseen.fstype, unseen.device) == ("", "")
        assert (attempt.result, attempt.kind) == ("unknown", "not-permitted")
        assert attempt.reason == "the node was not entered: Permission denied"


def test_a_node_that_was_entered_is_left_alone() -> None:
    """Nothing is forgotten of it."""
    facts = make_facts()
    assert forget_container(facts) is facts


@pytest.mark.parametrize("given", [False, True])
def test_nothing_of_the_container_is_kept(given: bool) -> None:
    """However ready the container looks, it is `unknown`; its mount table counts with the kubelet's directory in it."""
    attempt = make_attempt(role="kubelet-root", step="done" if given else "")
    facts = forget_container(make_facts(probe=make_probe(entered=unread("/host/proc/1/ns/mnt")), attempts=(attempt,)))
    report = make_report(
        facts, agent_version="1", probed_at="2026-01-01T00:00:00Z", expires_at="", duration_seconds=0, volume_paths=True
    )
    assert (report.verdict, set(report.levels.values())) == ("unknown", {"unknown"})
    assert report.node.distribution == ""
    assert not report.handlers
    assert (facts.mounts.value is not None) == given
