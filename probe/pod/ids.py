"""IDs of a Pod against those that its user namespace has: 0 to idsPerPod - 1."""

from __future__ import annotations

from collections.abc import Iterator

from probe.pod.api import MOST, minor_version
from probe.pod.model import Node, Pod, Reason
from probe.pod.walk import KEEP_HOST, containers, reason

BLOCK = 65_536
"""The least that idsPerPod can be, and its default."""
_IGNORED_BY = (1, 33)
"""Early kubelets of this release gave 65536 IDs whatever idsPerPod said: kubernetes/kubernetes#133144."""


def judge_ids(pod: Pod, node: Node) -> Iterator[Reason]:
    """A Reason for each ID that is refused, fails or may fail; the kernel knows no other IDs in there."""
    for field, number in _ids(pod):
        if not 0 <= number <= MOST:
            message = f"Invalid value: {number}: must be between 0 and {MOST}, inclusive"
            yield reason(field, "refused", "rule", "RefusedByApiServer", message, f"an ID from 0 to {BLOCK - 1}")
        elif number >= BLOCK:
            yield from _beyond_a_block(field, number, node)


def _beyond_a_block(field: str, number: int, node: Node) -> Iterator[Reason]:
    way = f"an ID below {BLOCK}, or a larger userNamespaces.idsPerPod in the kubelet's configuration, or {KEEP_HOST}"
    if node.ids_per_pod is None:
        message = f"{number} is beyond the default {BLOCK} IDs of a Pod; unknown how many this kubelet gives"
        yield reason(field, "unknown", "unknown", "IdsPerPodNotKnown", message, way)
    elif number >= node.ids_per_pod:
        message = f"{number} does not exist in the Pod, whose IDs end at {node.ids_per_pod - 1}"
        yield reason(field, "fails", "rule", "IdOutOfRange", message, way)
    elif minor_version(node.kubelet_version) == _IGNORED_BY:
        message = f"some kubelets 1.33 give {BLOCK} IDs, whatever idsPerPod says"
        yield reason(field, "unknown", "unknown", "IdsPerPodIgnored", message, "upgrade the kubelet to 1.34")


def _ids(pod: Pod) -> Iterator[tuple[str, int]]:
    whole = pod.spec.security_context
    if whole is not None:
        path = f"{pod.path}.securityContext"
        yield from _named(path, runAsUser=whole.run_as_user, runAsGroup=whole.run_as_group, fsGroup=whole.fs_group)
        for index, number in enumerate(whole.supplemental_groups or ()):
            yield f"{path}.supplementalGroups[{index}]", number
    for path, container in containers(pod):
        if one := container.security_context:
            yield from _named(f"{path}.securityContext", runAsUser=one.run_as_user, runAsGroup=one.run_as_group)


def _named(path: str, **values: int | None) -> Iterator[tuple[str, int]]:
    yield from ((f"{path}.{name}", number) for name, number in values.items() if number is not None)
