"""Mounts and pivot_root of a builder."""

from __future__ import annotations

from lab.factory import make_nested, unread
from lab.nested import DOUBTFUL, REFUSED, asked, judged, status


def test_statuses() -> None:
    """Each step decides; what the probe could not try is unknown, and SYS_ADMIN is asked for in any case."""
    assert status(judged("nested-mounts")) == "pass"
    assert status(judged("nested-mounts", {"pivot_root": REFUSED})) == "fail NestedMountRefused"
    assert status(judged("nested-mounts", {"keyring": DOUBTFUL})) == "unknown NotPermitted"
    assert asked(judged("nested-mounts", {"proc": REFUSED})) == ["capability SYS_ADMIN"]


def test_without_a_trial() -> None:
    """A trial that gave no answer makes it unknown."""
    lost = make_nested(trial=unread("nested trial", "timed-out"))
    assert status(judged("nested-mounts", nested=lost)) == "unknown TimedOut"


def test_a_limit_of_namespaces_has_its_own_fix() -> None:
    """ENOSPC is no refusal of a security module."""
    for errno, command in (("ENOSPC", "user.max_pid_namespaces"), ("EPERM", "journalctl -k")):
        outcome = judged("nested-mounts", {"namespaces": {"result": "failed", "errno": errno}}).outcome
        assert (outcome.status, command in outcome.remediation) == ("fail", True)
