"""Commands about mounts."""

from __future__ import annotations

from collections.abc import Iterable


def mount_uncovered(fstypes: Iterable[str]) -> str:
    """Commands that mount a second, uncovered /proc or /sys; one such mount lets the kernel allow new ones in Pods."""
    places = [(fstype, f"/run/{fstype}-clean") for fstype in fstypes]
    return "\n".join(
        [
            "Mount another, uncovered one in the mount namespace of the container runtime, at each boot:",
            *(f"  mkdir -p {place} && mount -t {fstype} {fstype} {place}" for fstype, place in places),
            "Do not just unmount the cover: without lxcfs, a node that is a container shows the CPUs and memory of the "
            "machine around it, and removing a mask exposes what it hid.",
        ]
    )
