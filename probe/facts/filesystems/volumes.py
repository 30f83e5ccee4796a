"""Volumes of Pods as subjects of attempts, with the names of their CSI drivers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from probe.facts.filesystems.attempts import subject_of
from probe.facts.filesystems.rules import Subject
from probe.host.host import Host
from probe.host.mount_table import MountTable
from probe.host.volumes import Volume, find_volumes

_DRIVER_NAME = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9.]{0,61}[a-zA-Z0-9])?")


def volume_subjects(host: Host, table: MountTable, root_dir: str) -> list[Subject]:
    """One subject for each file system mounted for Pods, with the name of its CSI driver if it has one."""
    volumes = find_volumes(table, root_dir)
    drivers = _drivers(host, root_dir, volumes)
    return [
        subject_of(table, "volume", volume.mount.mount_point, drivers.get(volume, volume.plugin), volume.mount)
        for volume in volumes
    ]


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
        raise ValueError("driverName is no name of a CSI driver")
    return name
