"""What is tried on the node, and what is left alone."""

from __future__ import annotations

import errno
from unittest.mock import Mock

import pytest

from probe.facts.filesystems.attempts import (
    STILL_HANGS,
    Bench,
    attempt_namespace,
    subject_of,
    target_of,
    try_subjects,
    without_overlay,
)
from probe.facts.filesystems.rules import Subject
from probe.facts.tried import Attempt
from probe.host import idmap
from probe.host.host import Host
from probe.host.idmap import Answer, NamespaceAnswer
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo
from probe.reading import Reading


def test_overlay_leaves_alone_what_still_hangs() -> None:
    """Its layers lie on a file system whose server keeps the child of an earlier probe: nothing is asked."""
    bench = Mock(spec=Bench)
    bench.walk.return_value = []
    layers = Subject(role="overlay-layers", path="/var/lib/containerd", fstype="fuse", device="0:51")
    ((subject, row),) = try_subjects(bench, [layers], MountTable(()), frozenset({"0:51"}))
    assert subject == layers
    assert isinstance(row, Attempt)
    assert (row.result, row.kind, row.reason) == ("unknown", "timed-out", STILL_HANGS)
    bench.walk.assert_called_once_with([])


@pytest.mark.parametrize(
    ("filesystems", "kind"),
    [
        (Reading("/proc/filesystems", "nodev\toverlay\n"), None),
        (Reading("/proc/filesystems", "nodev\ttmpfs\n"), "not-tried"),
        (Reading.without("/proc/filesystems", "timed-out", "no answer in time"), "not-readable"),
    ],
)
def test_overlay_is_tried_only_where_its_module_is_loaded(filesystems: Reading[str], kind: str | None) -> None:
    """The attempt would load it."""
    host = Mock(spec=Host)
    host.read_text.return_value = filesystems
    layers = Subject(role="overlay-layers", path="/var/lib/containerd", fstype="ext4", device="8:1")
    row = without_overlay(host, layers)
    assert (row.kind if row else None) == kind


@pytest.mark.parametrize(("fstype", "server"), [("nfs4", "0:51"), ("ext4", "")])
def test_overlay_waits_for_the_server_of_its_layers(fstype: str, server: str) -> None:
    """One that hangs must not take the time of what no server answers for."""
    table = MountTable(parse_mountinfo(f"21 1 0:51 / /v rw - {fstype} s rw\n".encode()))
    target = target_of(subject_of(table, "overlay-layers", "/v"), table)
    assert (target.kind, target.path, target.server) == ("overlay", "/v", server)


@pytest.mark.parametrize(("path", "left_alone"), [("/v", True), ("/v/d", True), ("/w", False)])
def test_what_lies_behind_a_server_that_hangs_is_left_alone(path: str, left_alone: bool) -> None:
    """A path below its mount would wait for it as well, whatever is mounted there."""
    mounts = b"21 1 0:51 / /v rw - nfs4 s rw\n22 21 0:52 / /v/d rw - tmpfs t rw\n23 1 0:53 / /w rw - tmpfs t rw\n"
    table = MountTable(parse_mountinfo(mounts))
    bench = Mock(spec=Bench)
    bench.walk.side_effect = lambda targets: [(index, Answer("done")) for index, _ in enumerate(targets)]
    ((_, row),) = try_subjects(bench, [subject_of(table, "volume", path)], table, frozenset({"0:51"}))
    assert [target.path for target in bench.walk.call_args.args[0]] == ([] if left_alone else [path])
    if left_alone:
        assert isinstance(row, Attempt)
        assert (row.result, row.kind, row.reason) == ("unknown", "timed-out", STILL_HANGS)


@pytest.mark.parametrize(("fstype", "waiting"), [("fuse.s3", True), ("virtiofs", True), ("nfs4", False)])
def test_what_counts_of_a_server_that_does_not_answer(fstype: str, waiting: bool) -> None:
    """A FUSE server decides itself whether its mount can be mapped; of the others the kernel says so without them."""
    mounts = f"21 1 0:51 / /v rw - {fstype} s rw\n22 21 0:52 / /v/d rw - tmpfs t rw\n".encode()
    table = MountTable(parse_mountinfo(mounts))
    bench = Mock(spec=Bench)
    bench.walk.return_value = [(0, Answer("mount_setattr", errno.EINVAL)), (1, Answer("open_tree", errno.ETIMEDOUT))]
    subjects = [subject_of(table, "volume", path) for path in ("/v", "/v/d")]
    (_, first), (_, second) = try_subjects(bench, subjects, table, frozenset())
    assert first == Answer("mount_setattr", errno.EINVAL, waiting=waiting)
    assert second == Answer("open_tree", errno.ETIMEDOUT)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NamespaceAnswer("helper", errno.EIO), "the process that tried it ended without an answer"),
        (NamespaceAnswer("fork", errno.EAGAIN), "Resource temporarily unavailable"),
        (NamespaceAnswer("unshare", errno.ENOMEM), "Cannot allocate memory"),
        (NamespaceAnswer("uid_map", errno.EMFILE), "Too many open files"),
    ],
)
def test_a_user_namespace_for_which_nobody_could_work(
    answer: NamespaceAnswer, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that tries it was killed, or there was none left for it: the kernel has refused nothing."""
    monkeypatch.setattr(idmap, "attempt_user_namespace", lambda own_proc: (-1, answer))
    descriptor, attempt = attempt_namespace(Mock(supported_architecture=True), -1)
    assert (descriptor, attempt.result, attempt.kind, attempt.reason) == (-1, "unknown", "not-readable", words)
