"""What is known of a node that could not be entered: what the kernel itself answers, and nothing of its files.

The files, mounts and processes in sight are then those of the probe's own container.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from probe.facts.filesystems.meaning import not_tried
from probe.facts.filesystems.rules import Subject
from probe.facts.model import KernelFacts, MountFacts
from probe.facts.tried import Attempt
from probe.host.mount_table import MountTable
from probe.reading import Reading

T = TypeVar("T")


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


def of_node(reading: Reading[T], entered: Reading[bool]) -> Reading[T]:
    """*reading* of a node that was entered; else a problem, because it is one of the probe's own container."""
    if entered.value or entered.kind is None:
        return reading
    return Reading.without(entered.source, entered.kind, _why(entered))


def kernel_of_node(kernel: KernelFacts, entered: Reading[bool]) -> KernelFacts:
    """*kernel* without the answers of file systems that a container has mounted for itself."""
    return replace(
        kernel,
        lsm=of_node(kernel.lsm, entered),
        selinux_enforcing=of_node(kernel.selinux_enforcing, entered),
        container=of_node(kernel.container, entered),
    )


def mounts_of_node(
    mounts: Reading[MountFacts], entered: Reading[bool], attempts: Sequence[Attempt]
) -> Reading[MountFacts]:
    """The container's mount table counts where the kubelet's directory was given to it, with all that lies below."""
    given = any(one.role == "kubelet-root" and one.step for one in attempts)
    return mounts if given else of_node(mounts, entered)


def _why(entered: Reading[bool]) -> str:
    return f"the node was not entered: {entered.problem}"
