"""hostPaths that do not exist on the node, or are of another type than the Pod says.

*Source*: pkg/volume/hostpath of Kubernetes.
"""

from __future__ import annotations

import posixpath
import stat

from probe.pod.model import Node, Reason
from probe.pod.spec import HostPath
from probe.pod.tried import Mounted
from probe.pod.walk import reason

_DIRECTORY = frozenset((None, "", "DirectoryOrCreate"))
"""Types of which a directory is made: by the kubelet, or without a type by containerd and CRI-O."""
_TYPES = {
    "Directory": (stat.S_IFDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_IFDIR, "a directory"),
    "File": (stat.S_IFREG, "a file"),
    "FileOrCreate": (stat.S_IFREG, "a file"),
    "Socket": (stat.S_IFSOCK, "a socket"),
    "CharDevice": (stat.S_IFCHR, "a character device"),
    "BlockDevice": (stat.S_IFBLK, "a block device"),
}


def judge_missing(field: str, volume: HostPath, mounted: Mounted, node: Node) -> Reason | None:
    """The Reason of a path that nothing makes; None where all exist, or are made on what was tried above them.

    The kubelet makes what `subPath` names in a volume that exists.
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


def judge_type(field: str, volume: HostPath, node: Node) -> Reason | None:
    """The Reason of a path that exists and is of another type; None where its type is right, or was not seen."""
    wanted, name = _TYPES.get(volume.type or "", (0, ""))
    found = node.file_types.get(volume.path)
    if not wanted or not found or found == wanted:
        return None
    message = f"{volume.path} is not {name}, and the kubelet mounts nothing else for the type {volume.type}"
    return reason(field, "fails", "tried", "PathTypeDiffers", message, f"{field}.type, or a path to {name}")
