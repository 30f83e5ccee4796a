"""A node that could not be entered: what is still said of it."""

from __future__ import annotations

import pytest

from lab.factory import make_probe, unread
from lab.recorded import NAMES, Recording
from probe.facts.filesystems.rules import Subject
from probe.facts.not_entered import not_entered, out_of_sight
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo
from probe.make_report import make_report
from probe.reading import Reading
from probe.terms import Role

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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [False, True])
def test_nothing_of_the_container_is_kept(name: str, given: bool) -> None:
    """However ready the container looks, nothing is ready; its mount table counts if the kubelet's is in it."""
    node = Recording(name)
    if given:
        node.mountinfo += "9001 1 0:20 / / rw,relatime - overlay overlay rw\n"
        node.mountinfo += "9002 9001 8:1 / /var/lib/kubelet ro,relatime master:1 - ext4 /dev/vda1 rw\n"
    facts = node.facts(make_probe(entered=unread("/host/proc/1/ns/mnt")))
    report = make_report(
        facts, agent_version="1", probed_at="2026-01-01T00:00:00Z", expires_at="", duration_seconds=0, volume_paths=True
    )
    assert "ready" not in (report.verdict, *report.levels.values())
    assert report.node.distribution == ""
    assert not report.handlers
    unseen = (facts.kubelet, facts.runtime, facts.ids, facts.pods, facts.hooks, facts.userns_pod_runs)
    assert {reading.source for reading in (*unseen, facts.kernel.lsm)} == {"/host/proc/1/ns/mnt"}
    assert (facts.mounts.value is not None) == given
