"""Facts of devices: what CDI specifications add to a container, and what the runtime finds of it on the node."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from probe.facts.tried import Attempt
from probe.host.places import Place
from probe.reading import Reading

Mapping = Literal["", "idmap", "ridmap"]
"""Option of a mount: `idmap` maps the owners of the top mount, `ridmap` also those of all mounts below."""


class CdiSettings(Struct, frozen=True, kw_only=True):
    """CDI settings of a container runtime."""

    folders: tuple[str, ...]
    """In their order, of which the last one precedes."""
    enabled: bool = True
    """containerd's `enable_cdi`, on by default since 2.0."""


class CdiNode(Struct, frozen=True):
    """One of `deviceNodes`."""

    path: str
    """In the container. In a user namespace the OCI runtime binds the node's own file at this path."""
    host_path: str
    """File that the CDI library reads type and number from."""
    typed: bool
    """True when the specification has type and number itself, so that the CDI library reads no file."""
    permissions: str
    """Of the device cgroup: `rwm`."""


class CdiMount(Struct, frozen=True):
    """One of `mounts`."""

    source: str
    target: str
    type: str
    options: tuple[str, ...]


class CdiHook(Struct, frozen=True):
    """One of `hooks`."""

    when: str
    """`createContainer` or another name of the OCI specification."""
    program: str


class CdiEdits(Struct, frozen=True, kw_only=True):
    """`containerEdits`: what is added to a container."""

    nodes: tuple[CdiNode, ...] = ()
    mounts: tuple[CdiMount, ...] = ()
    hooks: tuple[CdiHook, ...] = ()
    gids: tuple[int, ...] = ()
    """`additionalGids`: groups of the container's process."""
    interfaces: int = 0
    """Number of network interfaces (`netDevices`), which are not judged."""


class CdiSpecification(Struct, frozen=True, kw_only=True):
    """One file."""

    file: str
    kind: str
    """`nvidia.com/gpu`."""
    edits: CdiEdits
    """For each container with any of the devices."""
    devices: dict[str, CdiEdits]


class CdiFolders(Struct, frozen=True, kw_only=True):
    """All specifications in the folders of a runtime."""

    folders: tuple[tuple[CdiSpecification, ...], ...]
    """By folder; a device of a later folder replaces one of the same name."""
    found: int
    """Number of files."""
    unread: tuple[Reading[str], ...] = ()
    """Some of the files that could not be read or understood."""
    unread_count: int = 0


Way = tuple[Reading[Place], ...]
"""A file, then each folder above it, as written and without symlinks."""


class MountTry(Struct, frozen=True, kw_only=True):
    """Attempt at the mount of one source."""

    source: str
    recursive: bool
    """True when the whole tree was mapped, as for `rbind` with `ridmap`."""
    attempt: Attempt
    refusing: tuple[str, ...] = ()
    """Mount points of the tree that refuse a mapping of their own, where the whole tree was refused."""


class Toolkit(Struct, frozen=True, kw_only=True):
    """NVIDIA's container toolkit."""

    version: Reading[str]
    mode: Reading[str]
    """`mode` of nvidia-container-runtime: `auto`, `cdi`, `legacy`, `csv`; read where a handler runs that program."""


class PluginDevice(Struct, frozen=True, kw_only=True):
    """Device nodes behind a resource whose device plugin is known to hand out nothing else."""

    resource: str
    """Name in `resources.limits`: `devices.kubevirt.io/kvm`."""
    nodes: tuple[str, ...]


class DeviceFacts(Struct, frozen=True, kw_only=True):
    """All that is known of the devices of a node. On a node without devices nothing but the folders is read."""

    cdi: Reading[CdiFolders]
    maps_mounts: Reading[bool]
    """True when the runtime's CDI library, 1.1.0 or newer, adds `idmap` to bind mounts and `ridmap` to rbind."""
    ways: dict[str, Way] = {}
    """Path of a device node, mount source or hook -> what the runtime finds there."""
    mounts: tuple[MountTry, ...] = ()
    below: dict[str, int] = {}
    """Source of a mount -> number of mounts below it, where there are any; -1 when it is not known."""
    toolkit: Toolkit
    plugins: tuple[PluginDevice, ...] = ()
    resources: tuple[str, ...] = ()
    """Resources of device plugins whose devices are not known."""
    omitted: int = 0
    """Paths and mounts that were too many to be looked at."""


def mapping_of(mount: CdiMount, maps_mounts: bool) -> Mapping:
    """Mapping that the CDI library requests for *mount* in a user namespace.

    *Source*: Container Device Interface 1.1.0, `pkg/cdi/oci.go`.
    """
    for option in ("ridmap", "idmap"):
        if option in mount.options:
            return "ridmap" if option == "ridmap" else "idmap"
    if not maps_mounts:
        return ""
    return "ridmap" if "rbind" in mount.options else "idmap" if "bind" in mount.options else ""


def is_bind(mount: CdiMount) -> bool:
    """True for a bind mount; OCI runtimes look at the options, not at the type."""
    return not {"bind", "rbind"}.isdisjoint(mount.options)
