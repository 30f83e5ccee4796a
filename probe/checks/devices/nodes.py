"""Judge of device nodes. runc binds the node's own file, which keeps its owner; crun makes a new one.

Seen with runc 1.3.6, crun 1.21 and 1.28. *Source* of the rest: containers/crun#1103.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from probe.checks.devices.fault import Circumstances, Fault, not_looked_at
from probe.checks.remedies.devices import open_device
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import is_closed, mode_of
from probe.facts.around import Place
from probe.facts.defaults import FIRST_POD_ID
from probe.facts.devices.model import CdiNode, Way
from probe.reading import Reading

_MAKES_NODES = (1, 8, 0)
"""First release of crun that makes device nodes outside of the user namespace, with the Pod's root as owner."""


def judge_node(node: CdiNode, seen: Circumstances) -> Iterator[Fault]:
    """Faults of one device node."""
    injected = _injection(node, seen)
    if injected:
        yield injected
    elif not makes_nodes(seen):
        fault = _bound(node, seen)
        if fault and not _binds(seen):
            fault = Fault("unknown", "RuntimeUnknown", f"{fault.message}; this does not matter to crun 1.8 and newer")
        if fault:
            yield fault


def makes_nodes(seen: Circumstances) -> bool:
    """True when the OCI runtime makes device nodes that belong to the Pod's root."""
    return seen.oci_runtime == "crun" and seen.oci_version is not None and seen.oci_version >= _MAKES_NODES


def _binds(seen: Circumstances) -> bool:
    """True when the OCI runtime binds the node's own files."""
    return seen.oci_runtime == "runc" or (seen.oci_version is not None and seen.oci_runtime == "crun")


def _injection(node: CdiNode, seen: Circumstances) -> Fault | None:
    """Fault of the file from which the CDI library reads type and number, without following a symlink."""
    if node.typed:
        return None
    way = seen.way(node.host_path)
    if not way or (way[0].value is None and way[0].kind != "absent"):
        return not_looked_at("the device", inline(node.host_path), way[0] if way else None)
    if way[0].value is None:
        return Fault("fails", "DeviceMissing", f"the device {inline(node.host_path)} does not exist")
    if not _is_node(way[0].value) or _is_link(node.host_path, way):
        message = f"{inline(node.host_path)} is not a device node, and the CDI library follows no symlink"
        return Fault("fails", "DeviceMissing", message, evidence=mode_of(way[0].value, node.host_path))
    return None


def _bound(node: CdiNode, seen: Circumstances) -> Fault | None:
    """Fault of the file that the OCI runtime binds: that at the path in the container."""
    way, path = seen.way(node.path), inline(node.path)
    if not way or (way[0].value is None and way[0].kind != "absent"):
        return not_looked_at("the device", path, way[0] if way else None)
    place = way[0].value
    if place is None:
        message = f"in a user namespace runc binds the node's own {path}, which does not exist"
        return Fault("fails", "DeviceMissing", message)
    evidence = mode_of(place, node.path)
    shut = next((step for step in way[1:] if step.value and is_closed(step.value)), None)
    if shut is not None and shut.value:
        message = f"the Pod's root may not search {inline(shut.source)}, which contains {path}"
        return Fault("fails", "DeviceNotReachable", message, evidence=mode_of(shut.value, shut.source))
    if not _is_node(place):
        return Fault("fails", "DeviceMissing", f"{path} is not a device node on this node", evidence=evidence)
    host = seen.way(node.host_path)
    if host and host[0].value and host[0].value.device != place.device:
        message = f"runc binds the node's own {path} instead of {inline(node.host_path)}, which is another device"
        return Fault("fails", "OtherDevice", message, evidence=evidence)
    if place.flags & os.ST_NODEV:
        message = f"{path} is on a mount with nodev, so no Pod can open it"
        return Fault("fails", "DeviceMode", message, evidence=evidence)
    return _closed(node, place, way)


def _closed(node: CdiNode, place: Place, way: Way) -> Fault | None:
    """Fault of the mode: the Pod's root is neither owner nor in the group, so the bits for others count."""
    needed = sum(bit for letter, bit in (("r", 4), ("w", 2)) if letter in node.permissions)
    if place.mode & needed == needed:
        return None
    path, mode = inline(node.path), f"{stat.S_IMODE(place.mode):04o}"
    if place.uid >= FIRST_POD_ID or place.gid >= FIRST_POD_ID:
        message = f"{path} has mode {mode}, and its owner {place.uid}:{place.gid} may belong to a Pod"
        return Fault("unknown", "DeviceMode", message, evidence=mode_of(place, node.path))
    message = f"{path} has mode {mode} and owner {place.uid}:{place.gid}, which no Pod has: open(2) fails with EACCES"
    return Fault("fails", "DeviceMode", message, open_device(place.path), mode_of(place, node.path))


def _is_node(place: Place) -> bool:
    return stat.S_ISCHR(place.mode) or stat.S_ISBLK(place.mode) or stat.S_ISFIFO(place.mode)


def _is_link(path: str, way: Way) -> bool:
    """True when *path* itself is a symlink; those in the folders above do not count."""
    folder: Reading[Place] | None = next((step for step in way[1:] if step.source == os.path.dirname(path)), None)
    if way[0].value is None or folder is None or folder.value is None:
        return False
    return way[0].value.path != os.path.join(folder.value.path, os.path.basename(path))
