"""Facts of a node whose mount namespace could not be entered: answers of the kernel only, none from files.

Visible files, mounts and processes then belong to the probe's own container.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from probe.facts.filesystems.meaning import not_tried
from probe.facts.filesystems.rules import Subject
from probe.facts.model import KernelFacts, MountFacts
from probe.facts.tried import Attempt, doubt_of
from probe.host.mount_table import MountTable
from probe.reading import Reading

T = TypeVar("T")


def not_entered(entered: Reading[bool]) -> Reading[bool]:
    """Result of entering the node; an absent /proc of the node means that it was not mounted into the container."""
    if entered.kind == "absent":
        return Reading.without(entered.source, "not-permitted", entered.problem)
    return entered


def out_of_sight(subject: Subject, entered: Reading[bool], table: MountTable) -> tuple[Subject, Attempt] | None:
    """Unknown row for a directory in our own root instead of the node's; None when it may be tried.

    A mount below our root was added to the container for the probe, so it is tried.
    """
    mount = table.mount_of(subject.path)
    if entered.value or (mount and mount.mount_point != "/"):
        return None
    unseen = Subject(role=subject.role, path=subject.path, fstype="", device="")
    return unseen, not_tried(unseen, doubt_of(entered.kind), _why(entered))


def of_node(reading: Reading[T], entered: Reading[bool]) -> Reading[T]:
    """*reading* if the node was entered; else a problem, because it comes from the probe's own container."""
    if entered.value or entered.kind is None:
        return reading
    return Reading.without(entered.source, entered.kind, _why(entered))


def kernel_of_node(kernel: KernelFacts, entered: Reading[bool]) -> KernelFacts:
    """*kernel* without values from file systems that a container mounts for itself."""
    return replace(
        kernel,
        lsm=of_node(kernel.lsm, entered),
        boot_limits=kernel.boot_limits if entered.value or entered.kind is None else {},
        selinux_enforcing=of_node(kernel.selinux_enforcing, entered),
        container=of_node(kernel.container, entered),
    )


def mounts_of_node(
    mounts: Reading[MountFacts], entered: Reading[bool], attempts: Sequence[Attempt]
) -> Reading[MountFacts]:
    """Mount table of the container; usable if the kubelet's directory is mounted into it with all mounts below."""
    given = any(one.role == "kubelet-root" and one.step for one in attempts)
    return mounts if given else of_node(mounts, entered)


def _why(entered: Reading[bool]) -> str:
    return f"the node was not entered: {entered.problem}"
