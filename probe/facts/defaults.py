"""Constants of Kubernetes and of the kernel that more than one fact depends on."""

from __future__ import annotations

from probe.host.processes import START_UNCERTAINTY as START_UNCERTAINTY

KUBELET_ROOT = "/var/lib/kubelet"
"""Default of the kubelet's --root-dir."""
RUNTIME_ROOT = "/var/lib/containerd"
"""Default of containerd's root."""
BLOCK = 65_536
"""Default and unit of `userNamespaces.idsPerPod`."""
FIRST_POD_ID = BLOCK
"""First host ID that a Pod may have: the kubelet leaves the first block to the node."""
MAX_UINT32 = (1 << 32) - 1
"""Largest uint32. As an ID it means "none" to the kernel, so the largest mappable ID is one less."""
ALL_IDS = 1 << 32
"""The number of IDs in a user namespace."""
