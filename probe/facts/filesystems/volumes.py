"""Volumes of Pods as subjects of attempts, with the names of their CSI drivers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
from msgspec.structs import replace

from probe.facts.filesystems.attempts import subject_of
from probe.facts.filesystems.rules import Subject
from probe.host.host import Host
from probe.host.mount_table import MountTable
from probe.host.mountinfo import Mount
from probe.host.volumes import Volume, find_volumes

PUBLISHED_BY_LINK = frozenset(("gpfs",))
"""File systems whose CSI driver publishes by symbolic link. *Source*: IBM/ibm-spectrum-scale-csi driver/csiplugin."""
_CSI = "kubernetes.io~csi"
_MOST = 250
"""Pods, and links, that are looked at."""
_DRIVER_NAME = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9.]{0,61}[a-zA-Z0-9])?")


def volume_subjects(host: Host, table: MountTable, root_dir: str) -> list[Subject]:
    """One subject for each file system mounted for Pods, with the name of its CSI driver if it has one."""
    volumes = find_volumes(table, root_dir)
    drivers = _drivers(host, root_dir, volumes)
    mounted = [
        subject_of(table, "volume", volume.mount.mount_point, drivers.get(volume, volume.plugin), volume.mount)
        for volume in volumes
    ]
    return mounted + _linked_subjects(host, table, root_dir)


def _linked_subjects(host: Host, table: MountTable, root_dir: str) -> list[Subject]:
    """Volumes that are symbolic links to directories of the node; runtimes bind, and idmap, the link's target.

    The kubelet's directories are listed only on nodes with a file system whose driver publishes so. One subject for
    each driver and file system.
    """
    if not any(mount.fstype in PUBLISHED_BY_LINK for mount in table):
        return []
    links: dict[str, tuple[str, Mount]] = {}
    for folder in islice(_csi_folders(host, root_dir), _MOST):
        target = host.read_link(f"{root_dir}/{folder}/mount").value or ""
        mount = table.mount_of(target) if target.startswith("/") and ".." not in target.split("/") else None
        if mount is not None:
            links[f"{folder}/vol_data.json"] = target, mount
    contents = host.read_all_beneath(root_dir, sorted(links)) if links else {}
    found: dict[tuple[str, str], Subject] = {}
    for file, (target, mount) in links.items():
        plugin = contents[file].parse(_driver_name).value or _CSI
        subject = replace(subject_of(table, "volume", target, plugin, mount), linked=True)
        found.setdefault((plugin, mount.device), subject)
    return list(found.values())


def _csi_folders(host: Host, root_dir: str) -> Iterator[str]:
    """Folders of CSI volumes below *root_dir*."""
    for pod in (host.list_directory(f"{root_dir}/pods").value or ())[:_MOST]:
        folder = f"pods/{pod}/volumes/{_CSI}"
        for volume in host.list_directory(f"{root_dir}/{folder}").value or ():
            yield f"{folder}/{volume}"


def _drivers(host: Host, root_dir: str, volumes: Sequence[Volume]) -> dict[Volume, str]:
    """CSI driver of each volume whose vol_data.json names one."""
    prefix = root_dir.rstrip("/") + "/"
    files = {v: v.vol_data.removeprefix(prefix) for v in volumes if v.vol_data.startswith(prefix)}
    contents = host.read_all_beneath(root_dir, sorted(set(files.values()))) if files else {}
    names = {volume: contents[file].parse(_driver_name).value for volume, file in files.items()}
    return {volume: name for volume, name in names.items() if name}


def _driver_name(content: bytes) -> str:
    try:
        name = msgspec.json.decode(content, type=dict[str, object]).get("driverName")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(name, str) or not _DRIVER_NAME.fullmatch(name):
        raise ValueError("driverName is not a name of a CSI driver")
    return name
