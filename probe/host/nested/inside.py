"""Steps of a builder or an engine that runs as the Pod's own root, in namespaces below those of the Pod."""

from __future__ import annotations

import errno
import os
from functools import cached_property

from probe.host import syscalls
from probe.host.nested.pod import VOLUME, Devices, pivot
from probe.host.sandbox.steps import UnknownToKernelError

_PRIVATE = syscalls.MS_NOSUID | syscalls.MS_NOEXEC | syscalls.MS_NODEV
_CLONE = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC


class Rootful:
    """The first process of a container inside the Pod, without a user namespace of its own."""

    def __init__(self, filesystems: dict[str, bool], devices: Devices, userns_fd: int) -> None:
        """*userns_fd* is a user namespace below that of the Pod; -1 when there is none."""
        self._filesystems = filesystems
        self._devices = devices
        self._userns_fd = userns_fd

    @cached_property
    def root(self) -> str:
        """Directory of the mount that becomes the container's root."""
        os.mkdir("/inner")
        syscalls.mount("tmpfs", "/inner", "tmpfs", syscalls.MS_NOSUID, "mode=755,size=1m")
        return "/inner"

    def mount_tmpfs(self) -> None:
        os.mkdir(f"{self.root}/proc")

    def mount_proc(self) -> None:
        syscalls.mount_quietly("proc", f"{self.root}/proc", _PRIVATE)

    def mount_sysfs_writable(self) -> None:
        os.mkdir(f"{self.root}/sys-rw")
        syscalls.mount_quietly("sysfs", f"{self.root}/sys-rw", _PRIVATE)

    def mount_sysfs(self) -> None:
        os.mkdir(f"{self.root}/sys")
        syscalls.mount_quietly("sysfs", f"{self.root}/sys", _PRIVATE | syscalls.MS_RDONLY)

    def mount_overlay(self) -> None:
        mount_overlay(self._filesystems, f"{VOLUME}/rootful", f"{self.root}/merged")

    def use_overlay(self) -> None:
        use_overlay(f"{self.root}/merged")

    def map_volume_again(self) -> None:
        """Map the IDs of a mount that has a mapping, as mount_setattr(2) refuses to everybody."""
        self._map(VOLUME)

    def map_own_tmpfs(self) -> None:
        self._map(self.root)

    def _map(self, path: str) -> None:
        if self._userns_fd < 0:
            raise UnknownToKernelError("second user namespace")
        clone = syscalls.open_tree(syscalls.AT_FDCWD, path, _CLONE)
        try:
            syscalls.mount_setattr(clone, syscalls.MOUNT_ATTR_IDMAP, self._userns_fd)
        finally:
            os.close(clone)

    def mount_fuse(self) -> None:
        """Mount a FUSE file system whose server never answers; nothing ever looks into it."""
        if "fuse" not in self._filesystems or self._devices.fuse < 0:
            raise UnknownToKernelError("fuse")
        os.mkdir("/fuse")
        options = f"fd={self._devices.fuse},rootmode=40000,user_id=0,group_id=0"
        syscalls.mount("fuse", "/fuse", "fuse", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
        syscalls.umount2("/fuse", syscalls.MNT_DETACH)

    def join_keyring(self) -> None:
        syscalls.join_session_keyring()

    def pivot_root(self) -> None:
        pivot(self.root)


def mount_overlay(filesystems: dict[str, bool], directory: str, target: str) -> None:
    """Mount an overlay whose layers all lie in *directory*, which is made."""
    if "overlay" not in filesystems:
        raise UnknownToKernelError("overlay")
    for path in (directory, f"{directory}/lower", f"{directory}/upper", f"{directory}/work", target):
        os.mkdir(path)
    for name in ("removed", "renamed", "changed"):
        with open(f"{directory}/lower/{name}", "x"):
            pass
    layers = f"lowerdir={directory}/lower,upperdir={directory}/upper,workdir={directory}/work"
    syscalls.mount("overlay", target, "overlay", syscalls.MS_NODEV, f"{layers},userxattr")


def use_overlay(merged: str) -> None:
    """Change an overlay as the build of an image does. *Errors*: EIO when the result is not what was written."""
    os.unlink(f"{merged}/removed")  # leaves a whiteout in the upper layer
    os.rename(f"{merged}/renamed", f"{merged}/other")
    os.chown(f"{merged}/changed", 1000, 1000)
    with open(f"{merged}/made", "x") as file:
        file.write("made")
    owner = os.stat(f"{merged}/changed").st_uid
    if sorted(os.listdir(merged)) != ["changed", "made", "other"] or owner != 1000:
        raise OSError(errno.EIO, "the overlay does not show what was written")


class Rootless:
    """The first process of a container inside a second user namespace, below that of the Pod."""

    def __init__(self, filesystems: dict[str, bool], directory: str) -> None:
        """*directory* lies in the volume, writable for the second namespace's root."""
        self._filesystems = filesystems
        self._directory = directory

    def mount_tmpfs(self) -> None:
        syscalls.mount("tmpfs", "/sys", "tmpfs", syscalls.MS_NOSUID, "mode=755,size=1m")
        os.mkdir("/sys/proc")

    def mount_proc(self) -> None:
        syscalls.mount_quietly("proc", "/sys/proc", _PRIVATE)

    def mount_proc_subset(self) -> None:
        """Mount a /proc of processes alone, since Linux 5.8. *Source*: proc(5), option `subset`."""
        syscalls.mount_quietly("proc", "/sys/proc", _PRIVATE, subset="pid")

    def mount_overlay(self) -> None:
        mount_overlay(self._filesystems, f"{self._directory}/rootless", "/sys/merged")
        use_overlay("/sys/merged")
