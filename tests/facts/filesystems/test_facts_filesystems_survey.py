"""What was tried, held against the mount table as it is afterwards."""

from __future__ import annotations

import pytest

from lab.fake_host import FakeHost
from probe.facts.filesystems.rules import Subject
from probe.facts.filesystems.survey import _directory, without_vanished
from probe.host.idmap import Answer
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo
from probe.terms import Role

DONE = Answer("done")
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


def test_without_a_second_look_all_is_kept() -> None:
    rows = [(subject("/pods/b/v", "0:52"), DONE)]
    assert without_vanished(rows, None) == rows


MOUNTS = """20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
21 20 0:60 / /c/layers/snapshots rw - ramfs none rw
22 20 0:61 / /disk rw - ramfs none rw
23 20 8:1 /x /r/io.containerd.grpc.v1.cri rw unbindable - ext4 /dev/sda1 rw
"""


@pytest.mark.parametrize(
    ("role", "path", "links", "fstype", "unbindable"),
    [
        ("overlay-layers", "/c/layers", {}, "ramfs", False),
        ("overlay-layers", "/l", {"/l/snapshots": "/disk/snapshots"}, "ramfs", False),
        ("overlay-layers", "/r", {}, "ext4", False),
        ("runtime-root", "/r", {}, "ext4", True),
        ("runtime-root", "/c", {}, "ext4", False),
        ("kubelet-root", "/c/layers", {}, "ext4", False),
    ],
)
def test_the_directory_with_the_files_of_pods_itself(
    role: Role, path: str, links: dict[str, str], fstype: str, unbindable: bool
) -> None:
    """A mount, or a link to another disk, below the runtime's own directories decides what is tried."""
    host = FakeHost(links=dict(links))
    for existing in ("/c/layers/snapshots/1", "/l/1", "/r/io.containerd.grpc.v1.cri/sandboxes/1", "/disk/snapshots/1"):
        host.files[existing] = ""
    found = _directory(host, MountTable(parse_mountinfo(MOUNTS.encode())), role, path)
    assert (found.fstype, found.unbindable) == (fstype, unbindable)
