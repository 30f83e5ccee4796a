"""hostPaths that do not exist on the node: who makes them, and on which file system."""

from __future__ import annotations

import posixpath

from probe.pod.model import Node, Reason
from probe.pod.spec import HostPath
from probe.pod.tried import Mounted
from probe.pod.walk import reason

_DIRECTORY = frozenset((None, "", "DirectoryOrCreate"))
"""Types of which a directory is made: by the kubelet, or without a type by containerd and CRI-O."""


def judge_missing(field: str, volume: HostPath, mounted: Mounted, node: Node) -> Reason | None:
    """The Reason of a path that nothing makes; None where all exist, or are made on what was tried above them.

    *Source*: pkg/volume/hostpath of Kubernetes; the kubelet makes what `subPath` names in a volume that exists.
    """
    found = {path: node.above[path] for path in mounted.paths(volume.path) if path in node.above}
    for path, above in found.items():
        where = above.path or "it"
        if not f"{where}/".startswith(f"{volume.path.rstrip('/')}/") and (why := _not_made(volume, where)):
            return reason(field, "unknown", "unknown", "PathMissing", f"{volume.path} does not exist: {why}", "")
        if above.result == "supported" and (above.mount_read_only or above.usable == "read-only"):
            message = f"{path} does not exist, and cannot be made: {where} is read-only"
            return reason(field, "fails", "tried", "FilesystemReadOnly", message, "a path that exists")
    return None


def _not_made(volume: HostPath, above: str) -> str:
    """Why the kubelet waits for a path that does not exist; empty where it, or the runtime, makes it."""
    if volume.type in _DIRECTORY:
        return ""
    if volume.type == "FileOrCreate":
        parent = posixpath.dirname(volume.path.rstrip("/"))
        return "" if parent == above else f"the kubelet makes the file, but not its directory {parent}"
    return "the kubelet waits for it, whatever users the Pod has"
