"""Resources of device plugins: those that are device nodes and nothing else, with the nodes of this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from probe.facts.devices.model import PluginDevice
from probe.host.host import Host
from probe.reading import Reading

_KNOWN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("amd.com/gpu", ("/dev/kfd", "/dev/dri/renderD*")),
    ("gpu.intel.com/i915", ("/dev/dri/renderD*",)),
    ("gpu.intel.com/xe", ("/dev/dri/renderD*",)),
    ("devices.kubevirt.io/kvm", ("/dev/kvm",)),
    ("devices.kubevirt.io/tun", ("/dev/net/tun",)),
    ("devices.kubevirt.io/vhost-net", ("/dev/vhost-net",)),
    ("devices.kubevirt.io/vhost-vsock", ("/dev/vhost-vsock",)),
    ("devices.kubevirt.io/sev", ("/dev/sev",)),
    ("rdma/*", ("/dev/infiniband/rdma_cm", "/dev/infiniband/uverbs*")),
    ("sgx.intel.com/enclave", ("/dev/sgx_enclave",)),
    ("sgx.intel.com/provision", ("/dev/sgx_provision",)),
    ("smarter-devices/fuse", ("/dev/fuse",)),
    ("smarter-devices/kvm", ("/dev/kvm",)),
    ("squat.ai/fuse", ("/dev/fuse",)),
    ("squat.ai/kvm", ("/dev/kvm",)),
    ("squat.ai/tun", ("/dev/net/tun",)),
)
"""Resource -> its nodes, both with a `*` at the end where names differ. *Source*: ROCm/k8s-device-plugin,
intel-device-plugins-for-kubernetes, kubevirt `pkg/virt-handler/device-manager`, smarter-device-manager,
squat/generic-device-plugin, Mellanox/k8s-rdma-shared-dev-plugin."""
_NODES = 32
_CHECKPOINT = "kubelet_internal_checkpoint"
_CHECKPOINT_LIMIT = 1 << 20
_RESOURCES = 100
_RESOURCE = r"[\w.-]{1,253}/[\w.-]{1,63}"


class _Data(Struct, rename="pascal"):
    registered_devices: dict[str, tuple[str, ...] | None] = {}


class _Checkpoint(Struct, rename="pascal"):
    data: _Data


def gather_resources(host: Host, directory: str) -> Reading[tuple[str, ...]]:
    """Resources that device plugins have registered with devices, by the kubelet's file in *directory*.

    *Source*: k8s.io/kubernetes, pkg/kubelet/cm/devicemanager/checkpoint.
    """
    return host.read(f"{directory}/{_CHECKPOINT}", _CHECKPOINT_LIMIT).parse(parse_resources)


def parse_resources(content: bytes) -> tuple[str, ...]:
    """Names of resources with devices. *Errors*: ValueError."""
    found = msgspec.json.decode(content, type=_Checkpoint).data.registered_devices
    return tuple(name for name, devices in found.items() if devices and re.fullmatch(_RESOURCE, name))[:_RESOURCES]


def known_devices(host: Host, sockets: Sequence[str], registered: Reading[tuple[str, ...]]) -> tuple[PluginDevice, ...]:
    """Resources with their nodes, of those *registered*, if that is known; none without the socket of a device plugin.

    *sockets* are their file names.
    """
    if not sockets:
        return ()
    listed = {folder: host.list_directory(folder).value or () for folder in ("/dev/dri", "/dev/infiniband")}

    def nodes_of(path: str) -> tuple[str, ...]:
        folder, _, name = path.rpartition("/")
        if not name.endswith("*"):
            return (path,)
        pattern = re.compile(re.escape(name[:-1]) + r"\d{1,4}")
        return tuple(f"{folder}/{each}" for each in listed.get(folder, ()) if pattern.fullmatch(each))[:_NODES]

    return tuple(
        PluginDevice(resource=resource, nodes=tuple(path for one in nodes for path in nodes_of(one)))
        for resource, nodes in _KNOWN
        if registered.value is None or any(_is_named(name, resource) for name in registered.value)
    )


def other_resources(registered: Reading[tuple[str, ...]]) -> tuple[str, ...]:
    """Resources of *registered* whose devices no table knows, or one name for all where the file could not be read."""
    if registered.value is None:
        return ("other device plugins",)
    return tuple(
        name for name in registered.value or () if not any(_is_named(name, resource) for resource, _ in _KNOWN)
    )


def _is_named(name: str, resource: str) -> bool:
    return name.startswith(resource[:-1]) if resource.endswith("*") else name == resource
