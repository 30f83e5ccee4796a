"""Volumes that a CSI driver publishes by a symbolic link: the file system of the link's target is judged."""

from __future__ import annotations

import errno
import json

import pytest

from lab.fake_host import FakeHost
from probe.facts.filesystems.rules import Subject
from probe.facts.filesystems.survey import without_vanished
from probe.facts.filesystems.volumes import volume_subjects
from probe.host.idmap import Answer
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo

ROOT = "/var/lib/kubelet"
NODE = b"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:60 / /ibm/fs1 rw - gpfs fs1 rw\n"
FOLDER = f"{ROOT}/pods/u1/volumes/kubernetes.io~csi/pvc-1"
TARGET = "/ibm/fs1/pvc-1/data"


def node(links: dict[str, str | int], driver: str = "spectrumscale.csi.ibm.com") -> FakeHost:
    """A node whose one Pod has these links in place of mounts."""
    host = FakeHost()
    host.links |= links
    host.files |= {f"{path.removesuffix('/mount')}/vol_data.json": json.dumps({"driverName": driver}) for path in links}
    return host


def subjects(host: FakeHost, mounts: bytes = NODE) -> list[Subject]:
    return volume_subjects(host, MountTable(parse_mountinfo(mounts)), ROOT)


def test_the_target_is_judged() -> None:
    """With its own file system and the name of the driver."""
    (found,) = subjects(node({f"{FOLDER}/mount": TARGET}))
    assert (found.path, found.fstype, found.device) == (TARGET, "gpfs", "0:60")
    assert (found.plugin, found.linked) == ("spectrumscale.csi.ibm.com", True)


def test_it_does_not_vanish_for_being_no_mount_point() -> None:
    """Unless its file system is gone."""
    rows = [(one, Answer("done")) for one in subjects(node({f"{FOLDER}/mount": TARGET}))]
    assert without_vanished(rows, parse_mountinfo(NODE)) == rows
    assert without_vanished(rows, parse_mountinfo(NODE.split(b"\n")[0] + b"\n")) == []


def test_one_for_each_driver_and_file_system() -> None:
    """A thousand volumes of one file system need one attempt."""
    links: dict[str, str | int] = {
        f"{ROOT}/pods/u{pod}/volumes/kubernetes.io~csi/pvc-{pod}/mount": f"/ibm/fs1/{pod}" for pod in range(300)
    }
    assert len(subjects(node(links))) == 1


@pytest.mark.parametrize("target", ["relative/data", "/ibm/fs1/../../etc", "", errno.EINVAL, errno.EACCES])
def test_strange_links_are_no_volumes(target: str | int) -> None:
    """A directory, a link that cannot be read, and one that leads through a parent."""
    assert subjects(node({f"{FOLDER}/mount": target})) == []


def test_nothing_is_listed_on_other_nodes() -> None:
    """Without such a file system no directory of the kubelet is looked at."""
    host = node({f"{FOLDER}/mount": TARGET})
    assert subjects(host, b"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n") == []
    assert host.touched == []
