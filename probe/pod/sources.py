"""The type of a volume, of a Pod or of a PersistentVolume, by the field that names it."""

from __future__ import annotations

from probe.pod.spec import PersistentVolumeSpec, Volume, VolumeSources

_FIELDS = {
    name: encoded
    for kind in (Volume, PersistentVolumeSpec)
    for name, encoded in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
}


_NO_SOURCES = frozenset(("name", "storage_class_name", "volume_mode", "access_modes"))


def sources_of(volume: VolumeSources) -> list[str]:
    """The fields of *volume* that are set and name its type; the API takes one of them."""
    names = volume.__struct_fields__
    return [_FIELDS[name] for name in names if name not in _NO_SOURCES and getattr(volume, name) is not None]


def source_of(volume: VolumeSources) -> tuple[str, str, str]:
    """Field, driver and named file system of *volume*: (`csi`, `ebs.csi.aws.com`, `xfs`); empty when none is known."""
    for name in volume.__struct_fields__:
        value = getattr(volume, name)
        if value is not None and name not in _NO_SOURCES:
            return _FIELDS[name], getattr(value, "driver", ""), getattr(value, "fs_type", None) or ""
    return "", "", ""
