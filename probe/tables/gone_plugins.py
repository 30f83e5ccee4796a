"""Volume plugins that kubelets no longer have, although the API still takes their volumes."""

from __future__ import annotations

GONE: dict[str, tuple[int, int]] = {
    "scaleIO": (1, 22),
    "flocker": (1, 25),
    "quobyte": (1, 25),
    "storageos": (1, 25),
    "glusterfs": (1, 26),
    "cephfs": (1, 31),
    "rbd": (1, 31),
    "gitRepo": (1, 33),
}
"""Field of a volume -> the first version without its plugin; of gitRepo, unless the gate GitRepoVolumeDriver is on.

*Source*: kubernetes/website, Storage, Volumes: each type's own section.
"""
