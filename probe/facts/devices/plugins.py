"""Resources whose device plugins hand out device nodes and nothing else, with the nodes of this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence

from probe.facts.devices.model import PluginDevice
from probe.host.host import Host

_KNOWN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("amd.com/gpu", ("/dev/kfd", "/dev/dri/renderD*")),
    ("gpu.intel.com/i915", ("/dev/dri/renderD*",)),
    ("gpu.intel.com/xe", ("/dev/dri/renderD*",)),
    ("devices.kubevirt.io/kvm", ("/dev/kvm",)),
    ("devices.kubevirt.io/tun", ("/dev/net/tun",)),
    ("devices.kubevirt.io/vhost-net", ("/dev/vhost-net",)),
    ("smarter-devices/fuse", ("/dev/fuse",)),
    ("smarter-devices/kvm", ("/dev/kvm",)),
    ("squat.ai/fuse", ("/dev/fuse",)),
    ("squat.ai/kvm", ("/dev/kvm",)),
    ("squat.ai/tun", ("/dev/net/tun",)),
)
"""Resource -> its nodes. *Source*: ROCm/k8s-device-plugin, intel-device-plugins-for-kubernetes, kubevirt
`pkg/virt-handler/device-manager`, smarter-device-manager, squat/generic-device-plugin."""
_RENDER = re.compile(r"renderD\d{1,4}")
_NODES = 32


def known_devices(host: Host, sockets: Sequence[str]) -> tuple[PluginDevice, ...]:
    """Resources with their nodes; none without the socket of a device plugin. *sockets* are their file names."""
    if not sockets:
        return ()
    names = host.list_directory("/dev/dri")
    render = tuple(f"/dev/dri/{name}" for name in names.value or () if _RENDER.fullmatch(name))[:_NODES]
    return tuple(
        PluginDevice(
            resource=resource, nodes=tuple(path for one in nodes for path in (render if one.endswith("*") else (one,)))
        )
        for resource, nodes in _KNOWN
    )
