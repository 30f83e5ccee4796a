"""What is known of a node that could not be entered: what the kernel itself answers, and nothing of its files.

The files, mounts and processes in sight are then those of the probe's own container.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from probe.facts.filesystems.meaning import not_tried
from probe.facts.filesystems.rules import Subject
from probe.facts.model import Facts
from probe.facts.tried import Attempt
from probe.host.mountinfo import MountTable
from probe.reading import Reading


def not_entered(entered: Reading[bool]) -> Reading[bool]:
    """What became of entering the node. That its /proc is absent means that nobody gave it to the probe."""
    if entered.kind == "absent":
        return Reading.without(entered.source, "not-permitted", entered.problem)
    return entered


def out_of_sight(subject: Subject, entered: Reading[bool], table: MountTable) -> tuple[Subject, Attempt] | None:
    """The row of a directory that lies in our own root and not in the node's; None when it may be tried.

    What is mounted somewhere below was put there for us to try.
    """
    mount = table.mount_of(subject.path)
    if entered.value or (mount and mount.mount_point != "/"):
        return None
    kind = entered.kind if entered.kind in ("not-permitted", "timed-out") else "not-readable"
    unseen = Subject(role=subject.role, path=subject.path, fstype="", device="")
    return unseen, not_tried(unseen, kind, _why(entered))


def forget_container(facts: Facts) -> Facts:
    """*facts* without what was read from the probe's own container, unless the node was entered."""
    entered = facts.probe.entered
    if entered.value or entered.kind is None:
        return facts
    unseen: Reading[Any] = Reading.without(entered.source, entered.kind, _why(entered))
    given = any(one.role == "kubelet-root" and one.step for one in facts.attempts)  # with what is mounted below
    return replace(
        facts,
        distribution=unseen,
        kernel=replace(facts.kernel, lsm=unseen, selinux_enforcing=unseen, container=unseen),
        mounts=facts.mounts if given else unseen,
        kubelet=unseen,
        runtime=unseen,
        ids=unseen,
        pods=unseen,
        hooks=unseen,
        userns_pod_runs=unseen,
    )


def _why(entered: Reading[bool]) -> str:
    return f"the node was not entered: {entered.problem}"
