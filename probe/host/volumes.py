"""Volumes of Pods, found by the mount table and the layout of the kubelet's root directory. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct

from probe.host.mount_table import MountTable
from probe.host.mountinfo import Mount, printable

_POD_VOLUME = re.compile(r"pods/([^/]+)/volumes/([^/]+)/[^/]+(/mount)?", re.DOTALL)
_SUBPATH = re.compile(r"pods/([^/]+)/volume-subpaths/[^/]+/[^/]+/[^/]+", re.DOTALL)
_CSI_STAGING = re.compile(r"plugins/kubernetes\.io/csi/([^/]+)/[^/]+/globalmount", re.DOTALL)
_IN_TREE = re.compile(r"plugins/kubernetes\.io/(?!csi/)([^/]+)/(?!volumeDevices/).+", re.DOTALL)
_CSI = "kubernetes.io~csi"


class Volume(Struct, frozen=True):
    """A mount that the kubelet or a CSI driver made for a volume of a Pod."""

    mount: Mount
    plugin: str
    """`kubernetes.io~nfs`; the CSI driver if the path contains it; `subpath` if the path names no plugin."""
    vol_data: str = ""
    """Path of the file that names the CSI driver (vol_data.json); empty for other plugins."""


def find_volumes(table: MountTable, root_dir: str) -> tuple[Volume, ...]:
    """Volumes below the kubelet's root directory, one for each file system, sorted by path.

    Idmapped and unbindable mounts are all listed, since these are properties of the mount. Of the other mounts of one
    file system, a writable one with a known plugin is preferred, else the shallowest. Mounts inside of a volume and
    hidden mounts do not count.
    """
    prefix = root_dir.rstrip("/") + "/"
    groups: dict[tuple[str, str, int], list[Mount]] = defaultdict(list)
    for mount in table:
        if mount.mount_point.startswith(prefix):
            peculiar = "idmapped" in mount.options or "unbindable" in mount.propagation
            key = (mount.device, mount.fstype, mount.mount_id if peculiar else 0)
            groups[key].append(mount)
    found = (_first_volume(table, group, prefix) for group in groups.values())
    return tuple(sorted(filter(None, found), key=lambda volume: volume.mount.mount_point))


def _first_volume(table: MountTable, group: list[Mount], prefix: str) -> Volume | None:
    """The most preferred mount of *group* that is a volume."""
    for mount in _by_preference(group, prefix):
        volume = _visible_volume(table, mount, prefix)
        if volume and not any(_visible_volume(table, outer, prefix) for outer in table.ancestors(mount)):
            return volume
    return None


def _by_preference(group: list[Mount], prefix: str) -> Iterator[Mount]:
    """The mounts of *group*, which is sorted only where its first is no volume."""

    def preference(mount: Mount) -> tuple[bool, bool, int, str, int]:
        point = mount.mount_point
        subpath = "/volume-subpaths/" in point and _SUBPATH.fullmatch(point, len(prefix)) is not None
        return subpath, mount.read_only, point.count("/"), point, mount.mount_id

    yield min(group, key=preference) if len(group) > 1 else group[0]
    yield from sorted(group, key=preference)[1:]


def _visible_volume(table: MountTable, mount: Mount, prefix: str) -> Volume | None:
    if not mount.mount_point.startswith(prefix):
        return None
    volume = _volume(mount, mount.mount_point[len(prefix) :])
    return volume if volume and table.mount_of(mount.mount_point) is mount else None


def _volume(mount: Mount, path: str) -> Volume | None:
    """The volume at *path* below the kubelet's root directory. *Source*: kubelet, `kubelet_getters.go`."""
    if found := _POD_VOLUME.fullmatch(path):
        if (found[2] == _CSI) != bool(found[3]):  # only CSI mounts one level deeper
            return None
        return Volume(mount, printable(found[2]), _vol_data(mount) if found[3] else "")
    if found := _SUBPATH.fullmatch(path):
        return Volume(mount, "subpath")
    if found := _CSI_STAGING.fullmatch(path):
        # `csi/pv/NAME/globalmount` until Kubernetes 1.24: there the path names the volume, not the driver
        return Volume(mount, _CSI if found[1] == "pv" else printable(found[1]), _vol_data(mount))
    if found := _IN_TREE.fullmatch(path):
        return Volume(mount, f"kubernetes.io~{printable(found[1])}")
    return None


def _vol_data(mount: Mount) -> str:
    """Path of vol_data.json, which names the CSI driver of a volume."""
    return mount.mount_point.rpartition("/")[0] + "/vol_data.json"
