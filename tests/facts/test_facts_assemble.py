"""What was tried, held against the mount table as it is afterwards."""

from __future__ import annotations

import errno

import pytest
from probe.facts.filesystems.rules import Subject
from probe.facts.filesystems.survey import without_vanished
from probe.facts.runtime.namespace import entering

from lab.factory import make_confinement, make_runtime
from lab.fake_host import FakeHost
from probe.host.idmap import Answer
from probe.host.mountinfo import parse_mountinfo
from probe.reading import Reading

DONE = Answer("done")
NOBODY = 1 << 23
"""More than there are pids."""
TABLE = parse_mountinfo(
    b"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:50 / /pods/a/v rw - nfs x rw\n22 20 0:51 / /pods/c/v rw - nfs y rw\n"
)


def subject(path: str, device: str, role: str = "volume") -> Subject:
    return Subject(role=role, path=path, fstype="nfs", device=device)  # type: ignore[arg-type]


def test_a_volume_that_is_still_there_keeps_its_answer() -> None:
    rows = [(subject("/pods/a/v", "0:50"), DONE)]
    assert without_vanished(rows, TABLE) == rows


def test_a_volume_that_was_unmounted_is_none() -> None:
    """The directory below it was tried in its place."""
    assert without_vanished([(subject("/pods/b/v", "0:52"), DONE)], TABLE) == []


def test_another_mount_at_the_same_place() -> None:
    """Nobody knows which of the two was tried."""
    assert without_vanished([(subject("/pods/a/v", "0:49"), DONE)], TABLE) == []


def test_a_volume_that_another_pod_still_has() -> None:
    """It is not forgotten, for then nobody would speak of its file system."""
    (row,) = without_vanished([(subject("/pods/b/v", "0:51"), DONE)], TABLE)
    assert not isinstance(row[1], Answer)
    assert (row[1].result, row[1].kind, row[1].reason) == (
        "unknown",
        "not-tried",
        "it was unmounted while it was tried",
    )


def test_what_is_no_volume_is_kept() -> None:
    """The directories of kubelet and runtime are no mounts, and the tmpfs is the probe's own."""
    rows = [(subject("/var/lib/kubelet/pods", "8:2", "kubelet-root"), DONE), (subject("", "", "tmpfs"), DONE)]
    assert without_vanished(rows, TABLE) == rows


def test_a_runtime_that_has_ended_forbids_nothing() -> None:
    """Whoever tries something in its mount namespace is told that it is gone, and not that the probe may not."""
    host = FakeHost()
    runtime = make_runtime(confinement=make_confinement(pid=NOBODY))
    with pytest.raises(OSError, match=r".+") as raised:
        entering(host, Reading("CRI", runtime))()
    assert raised.value.errno == errno.ESRCH


def test_without_a_second_look_all_is_kept() -> None:
    rows = [(subject("/pods/b/v", "0:52"), DONE)]
    assert without_vanished(rows, None) == rows
