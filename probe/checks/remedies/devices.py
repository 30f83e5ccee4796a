"""Remediations of devices that Pods with a user namespace cannot use."""

from __future__ import annotations

import os
import re

from probe.checks.remedies.platforms import inline, quoted

_PLAIN = re.compile(r"[\w.:-]+", re.ASCII)

MAP_MOUNTS = (
    "Install the driver on the node's own ext4, xfs or btrfs instead of in a driver container, whose files lie on "
    "overlay, or boot Linux 7.3 or newer, which can idmap overlay. No kernel can idmap NFS, 9p or ramfs."
)
READABLE = "Let other users read the files that are mounted with the device: chmod -R o+rX PATH."
OPEN_HOOK = (
    "Let other users read and execute the hook's program and its interpreter or dynamic linker, and search each "
    "directory above them: chmod o+rx PATH. None may lie on a mount with noexec."
)
NVIDIA_CRUN = (
    "Install a release of the NVIDIA container toolkit after 1.20.0, and give these Pods a handler that runs crun. "
    "Until then they need hostUsers: true."
)
NVIDIA_HOOK = "Run one such Pod with hostUsers: false; if it fails, it needs hostUsers: true."
NVIDIA_LEGACY = (
    "Switch the toolkit to CDI, and delete its prestart hook:\n"
    "  nvidia-ctk config --set nvidia-container-runtime.mode=cdi --in-place\n"
    "  nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
)


def open_device(path: str) -> str:
    """Commands that let others open the device node at *path*, now and after each boot."""
    name = os.path.basename(path)
    now = (
        "Let other users open the device, or give these Pods a handler with crun, which creates its own device node:\n"
        f"  chmod 0666 {quoted(path)}"
    )
    if not _PLAIN.fullmatch(name):
        return now
    rule = f'KERNEL=="{inline(name)}", MODE="0666"'
    return f"{now}\n  echo '{rule}' > /etc/udev/rules.d/90-{inline(name)}.rules && udevadm control --reload"
