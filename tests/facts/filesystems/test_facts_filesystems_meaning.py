"""What the kernel's answers mean: the node cannot, the probe may not, or nobody knows."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.facts.filesystems.meaning import judge_answer, judge_namespace
from probe.facts.filesystems.rules import RULES, Case, Circumstances, Subject, rule_of
from probe.host.idmap import FIRST_HOST_ID, Answer, NamespaceAnswer

EL9_EARLY = "5.14.0-284.11.1.el9_2.x86_64"
EL9_LATER = "5.14.0-362.8.1.el9_3.x86_64"
EL9_LAST_WITHOUT = "5.14.0-333.el9.x86_64"
EL9_FIRST_WITH = "5.14.0-334.el9.x86_64"
MAP_EPERM = Answer("mount_setattr", errno.EPERM)
SHORTAGES = (
    *(errno.EINTR, errno.EIO, errno.EAGAIN, errno.ENOMEM, errno.EBUSY, errno.ENFILE, errno.EMFILE, errno.ENOSPC),
    *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
)
"""Errors of overlay when something has run out, or a server is gone."""


def subject(**overrides: Any) -> Subject:
    """A volume on ext4."""
    return Subject(**{"role": "volume", "path": "/v", "fstype": "ext4", "device": "8:1"} | overrides)


def around(**overrides: Any) -> Circumstances:
    """A probe that nothing binds, on a new kernel, where the mapping worked elsewhere."""
    fields = {"worked_elsewhere": True, "proc_refused": True, "seccomp": False, "release": "6.12.1", "oci_runtime": ""}
    return Circumstances(**fields | overrides)


CASES: list[tuple[dict[str, Any], Answer, dict[str, Any], str, str, str]] = [
    ({}, Answer("done"), {}, "supported", "", ""),
    ({}, Answer("done", 0, (0, FIRST_HOST_ID)), {}, "supported", "", ""),
    ({}, Answer("done", 0, (70000, 65534)), {}, "supported", "", ""),
    ({}, Answer("done", 0, (0, 0)), {}, "refused", "", "does not apply it"),
    ({}, Answer("done"), {"proc_refused": False}, "unknown", "not-readable", "negative control"),
    ({}, Answer("mount_setattr", errno.EINVAL), {}, "refused", "", "ext4 cannot be idmapped"),
    ({"fstype": "fuse.s3"}, Answer("mount_setattr", errno.EINVAL), {}, "refused", "", "FUSE_ALLOW_IDMAP"),
    ({"fstype": "fusectl"}, Answer("mount_setattr", errno.EINVAL), {}, "refused", "", "on this kernel"),
    ({"fstype": "fuse.s3"}, Answer("mount_setattr", errno.EINVAL, None, True), {}, "unknown", "timed-out", "FUSE"),
    ({"idmapped": True}, Answer("mount_setattr", errno.EPERM), {}, "refused", "", "already"),
    ({}, Answer("mount_setattr", errno.EPERM), {}, "refused", "", "another user namespace"),
    ({}, Answer("mount_setattr", errno.EPERM), {"worked_elsewhere": False}, "unknown", "not-permitted", "may not"),
    (
        {},
        Answer("mount_setattr", errno.EPERM),
        {"worked_elsewhere": False, "release": EL9_EARLY},
        "refused",
        "",
        "switched off",
    ),
    (
        {},
        Answer("mount_setattr", errno.EPERM),
        {"worked_elsewhere": False, "release": EL9_EARLY, "seccomp": True},
        "unknown",
        "not-permitted",
        "may not",
    ),
    (
        {},
        Answer("mount_setattr", errno.EPERM),
        {"worked_elsewhere": False, "release": EL9_LATER},
        "unknown",
        "not-permitted",
        "may not",
    ),
    ({}, Answer("mount_setattr", errno.ENOSYS), {}, "unknown", "not-permitted", "seccomp"),
    ({}, Answer("control", errno.ENOSYS), {"release": "5.10.0-33-amd64"}, "refused", "", "5.12"),
    (
        {},
        Answer("control", errno.ENOSYS),
        {"release": "5.10.0-33-amd64", "seccomp": True},
        "unknown",
        "not-permitted",
        "seccomp",
    ),
    ({}, Answer("open_tree", errno.ENOSYS), {"release": "4.18.0-553.el8"}, "refused", "", "5.12"),
    ({}, Answer("mount_setattr", errno.EBUSY), {}, "unknown", "not-readable", "at the moment"),
    ({"unbindable": True}, Answer("done"), {}, "refused", "", "crun cannot bind it"),
    ({"unbindable": True}, Answer("done"), {"oci_runtime": "crun"}, "refused", "", "unbindable"),
    ({"unbindable": True}, Answer("done"), {"oci_runtime": "runc"}, "supported", "", ""),
    (
        {"unbindable": True, "role": "overlay-layers"},
        Answer("done"),
        {"oci_runtime": "runc"},
        "refused",
        "",
        "no overlay can be made",
    ),
    ({"unbindable": True}, Answer("mount_setattr", errno.EINVAL), {"oci_runtime": "runc"}, "refused", "", "ext4"),
    ({"unbindable": True}, Answer("open_tree", errno.EINVAL), {}, "refused", "", "no runtime can bind it"),
    ({}, Answer("open_tree", errno.EINVAL), {}, "unknown", "not-tried", "another mount namespace"),
    ({}, Answer("open_tree", errno.EPERM), {}, "unknown", "not-permitted", "may not clone"),
    ({}, Answer("open_tree", errno.ENOENT), {}, "unknown", "not-readable", "gone"),
    ({}, Answer("open_tree", errno.ENOTCONN), {}, "unknown", "not-readable", "server"),
    ({}, Answer("open_tree", errno.ENOMEM), {}, "unknown", "not-readable", "could not be opened"),
    ({"role": "volume"}, Answer("open_tree", errno.ETIMEDOUT), {}, "unknown", "timed-out", "timed out: its server"),
    ({"role": "tmpfs"}, Answer("helper", errno.ETIMEDOUT), {}, "unknown", "timed-out", "timed out: no answer"),
    ({"fstype": "nfs4"}, Answer("open_tree", errno.ETIMEDOUT), {}, "unknown", "timed-out", "its server"),
    ({}, Answer("setns", errno.EPERM), {}, "unknown", "not-permitted", "setns"),
    ({}, Answer("setns", errno.ESRCH), {}, "unknown", "not-readable", "container runtime"),
    ({}, Answer("control", errno.EPERM), {}, "unknown", "not-permitted", "the probe may not change mounts"),
    ({}, Answer("fsmount", errno.ENODEV), {}, "unknown", "not-readable", "fsmount"),
    ({"role": "overlay-layers"}, Answer("overlay", errno.EINVAL), {}, "refused", "", "overlay refuses"),
    ({"role": "overlay-layers"}, Answer("overlay", errno.ENOMEM), {}, "unknown", "not-readable", "at the moment"),
    ({"role": "overlay-layers"}, Answer("overlay", errno.EMFILE), {}, "unknown", "not-readable", "at the moment"),
    ({}, Answer("helper", errno.EIO), {}, "unknown", "not-readable", "ended without an answer"),
    ({}, Answer("fork", errno.EAGAIN), {}, "unknown", "not-readable", "fork failed: Resource temporarily"),
    ({"role": "overlay-layers"}, Answer("unshare", errno.ENOSPC), {}, "unknown", "not-readable", "unshare"),
    ({}, Answer("done", 0, (70000, 70000)), {}, "refused", "", "UID 70000 is seen as 70000"),
    ({}, Answer("done", 0, (65535, FIRST_HOST_ID + 65535)), {}, "supported", "", ""),
    ({}, Answer("done", 0, (65535, 65534)), {}, "refused", "", "UID 65535 is seen as 65534"),
    ({}, Answer("done", 0, (65536, 65534)), {}, "supported", "", ""),
    ({}, MAP_EPERM, {"worked_elsewhere": False, "release": EL9_LAST_WITHOUT}, "refused", "", "switched off"),
    ({}, MAP_EPERM, {"worked_elsewhere": False, "release": EL9_FIRST_WITH}, "unknown", "not-permitted", "may not"),
    ({}, Answer("setns", errno.EACCES), {}, "unknown", "not-permitted", "setns failed: Permission denied"),
    ({}, Answer("open_tree", errno.ENOSYS), {"release": "5.11.22"}, "refused", "", "5.12"),
    ({}, Answer("open_tree", errno.ENOSYS), {"release": "5.12.0"}, "unknown", "not-permitted", "open_tree is not"),
    ({}, Answer("control", errno.ENOSYS), {}, "unknown", "not-permitted", "mount_setattr is not available"),
    ({"fstype": "virtiofs"}, Answer("mount_setattr", errno.EINVAL), {}, "refused", "", "FUSE_ALLOW_IDMAP"),
    *(
        ({}, Answer("open_tree", error), {}, "unknown", "not-readable", "the path is gone")
        for error in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    ),
    *(
        ({}, Answer("open_tree", error), {}, "unknown", "not-readable", "its server is gone")
        for error in (errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN)
    ),
    *(
        ({"role": "overlay-layers"}, Answer("overlay", error), {}, "unknown", "not-readable", "at the moment")
        for error in SHORTAGES
    ),
    *(
        ({"role": "overlay-layers"}, Answer("overlay", error), {}, "refused", "", "overlay refuses")
        for error in (errno.EPERM, errno.EOPNOTSUPP, errno.EOVERFLOW, errno.EXDEV)
    ),
]
"""What is tried, the answer, the circumstances; the result, its kind, and words of its reason."""


@pytest.mark.parametrize(("about", "answer", "circumstances", "result", "kind", "words"), CASES)
def test_each_answer_has_one_meaning(
    about: dict[str, Any], answer: Answer, circumstances: dict[str, Any], result: str, kind: str, words: str
) -> None:
    """Each errno by its step, and what else was seen, leads to one result with a reason a person understands."""
    row = judge_answer(subject(**about), answer, around(**circumstances))
    assert (row.result, row.kind) == (result, kind), row
    assert words in row.reason
    assert bool(row.reason) == (result != "supported")


def test_each_row_of_the_table_has_a_case() -> None:
    """No row is dead, and none is untested."""
    decisive = [rule_of(Case(subject(**about), answer, around(**around_it))) for about, answer, around_it, *_ in CASES]
    assert [rule.reason for rule in RULES if rule not in decisive] == []


@pytest.mark.parametrize(
    ("step", "error", "result", "kind", "reason", "ended_at"),
    [
        ("done", 0, "supported", "", "made, mapped and read back", "done"),
        ("threads", errno.EINVAL, "unknown", "not-tried", "probe is threaded", "threads"),
        ("helper", errno.EIO, "unknown", "not-readable", "the process that tried it ended without an answer", ""),
        ("uid_map", errno.ETIMEDOUT, "unknown", "timed-out", "timed out", "uid_map"),
        ("fork", errno.ENOSPC, "unknown", "not-readable", os.strerror(errno.ENOSPC), "fork"),
        *(
            ("unshare", error, "unknown", "not-permitted", os.strerror(error), "unshare")
            for error in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS)
        ),
        *(
            ("unshare", error, "unknown", "not-readable", os.strerror(error), "unshare")
            for error in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EIO)
        ),
        *(
            ("unshare", error, "refused", "", os.strerror(error), "unshare")
            for error in (errno.ENOSPC, errno.EINVAL, errno.EUSERS)
        ),
    ],
)
def test_each_end_of_a_user_namespace(
    step: str, error: int, result: str, kind: str, reason: str, ended_at: str
) -> None:
    """The kernel refuses only where it says so itself; what confines the probe or runs out says nothing of the node."""
    found = judge_namespace(NamespaceAnswer(step, error), "0 65536 65536")
    assert (found.result, found.kind, found.reason, found.step) == (result, kind, reason, ended_at)
    assert found.map == "0 65536 65536"


@given(
    step=st.sampled_from(["open_tree", "control", "mount_setattr", "fstat", "helper", "overlay", "setns", "fsmount"]),
    error=st.sampled_from(sorted(errno.errorcode)),
    waiting=st.booleans(),
    worked=st.booleans(),
    seccomp=st.booleans(),
    proc_refused=st.booleans(),
    idmapped=st.booleans(),
)
def test_no_error_is_ever_support(
    step: str, error: int, waiting: bool, worked: bool, seccomp: bool, proc_refused: bool, idmapped: bool
) -> None:
    """Whatever fails, and however it fails, the file system is not called supported."""
    circumstances = around(worked_elsewhere=worked, seccomp=seccomp, proc_refused=proc_refused)
    row = judge_answer(subject(idmapped=idmapped), Answer(step, error, None, waiting), circumstances)
    assert row.result != "supported"
    assert row.usable == ("no" if row.result == "refused" else None)
    assert row.errno == errno.errorcode[error]


@pytest.mark.parametrize(
    ("about", "usable"),
    [
        ({}, "yes"),
        ({"read_only": True}, "read-only"),
        ({"mounts_below": 2}, "partly"),
        ({"mounts_below": 2, "read_only": True}, "partly"),
        ({"mounts_below": 40, "role": "kubelet-root"}, "yes"),
    ],
)
def test_supported_is_not_always_usable(about: dict[str, Any], usable: str) -> None:
    """What lies below a volume is not mapped with it; what lies below the kubelet's root is no part of it."""
    assert judge_answer(subject(**about), Answer("done"), around()).usable == usable


@pytest.mark.parametrize(("fstype", "limited"), [("ceph", True), ("ext4", False)])
def test_what_an_accepted_mapping_does_not_prove_is_said(fstype: str, limited: bool) -> None:
    """No attempt writes through it."""
    row = judge_answer(subject(fstype=fstype), Answer("done"), around())
    assert (row.result, bool(row.reason)) == ("supported", limited)
    refused = judge_answer(subject(fstype=fstype), Answer("mount_setattr", errno.EINVAL), around())
    assert "reads" not in refused.reason


@pytest.mark.parametrize(("release", "result"), [("5.11.9", "refused"), ("5.12.0", "unknown"), ("", "unknown")])
def test_a_system_call_that_is_missing(release: str, result: str) -> None:
    """Before Linux 5.12 the kernel lacks it; else, or where the release is not known, something else refused it."""
    assert judge_answer(subject(), Answer("mount_setattr", errno.ENOSYS), around(release=release)).result == result


def test_a_volume_in_a_read_only_subvolume() -> None:
    """A Pod can read it, though no option of its mount says more."""
    assert judge_answer(subject(), Answer("done", sealed=True), around()).usable == "read-only"
    assert judge_answer(subject(), Answer("mount_setattr", errno.EINVAL, sealed=True), around()).usable != "read-only"
