"""Remediations of devices that Pods with a user namespace cannot use."""

from __future__ import annotations

import os
import re

from probe.checks.remedies.platforms import inline, quoted

_PLAIN = re.compile(r"[\w.:-]+", re.ASCII)

MAP_MOUNTS = (
    "Install the driver on the node's own ext4, xfs or btrfs instead of in a driver container, whose files lie on "
    "overlay, or boot Linux 7.3 or newer, which idmaps overlay. NFS, 9p and ramfs take no mapping on any kernel."
)
READABLE = "Let others read the files that are mounted with the device: chmod -R o+rX PATH."
OPEN_HOOK = (
    "Let others read and execute the program of the hook and what starts it, the interpreter of a script or "
    "the dynamic linker, and search each folder above them: chmod o+rx PATH. None may lie on a mount with noexec."
)
NVIDIA_CRUN = (
    "Install a release of the NVIDIA container toolkit after 1.20.0, and give these Pods a handler that runs crun; "
    "until then they need hostUsers: true."
)
NVIDIA_HOOK = "Run one such Pod with hostUsers: false; where it fails, it needs hostUsers: true."
NVIDIA_LEGACY = (
    "Switch the toolkit to CDI, and delete its prestart hook:\n"
    "  nvidia-ctk config --set nvidia-container-runtime.mode=cdi --in-place\n"
    "  nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
)


def open_device(path: str) -> str:
    """Commands that let others open the device node at *path*, now and after each boot."""
    name = os.path.basename(path)
    now = (
        "Let others open the device, or give these Pods a handler that runs crun, which creates its own device node:\n"
        f"  chmod 0666 {quoted(path)}"
    )
    if not _PLAIN.fullmatch(name):
        return now
    rule = f'KERNEL=="{inline(name)}", MODE="0666"'
    return f"{now}\n  echo '{rule}' > /etc/udev/rules.d/90-{inline(name)}.rules && udevadm control --reload"
