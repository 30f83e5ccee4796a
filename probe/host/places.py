"""stat(2), statvfs(2) and access control lists of several paths at once, as a process of the node sees them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from probe.host import syscalls
from probe.host.executable import NEEDS, Caller, Execution, execution
from probe.host.files import is_sealed, open_path
from probe.reading import Reading

_FS_IOC_FSGETXATTR, _FS_XFLAG_PROJINHERIT = 0x801C581F, 0x200
_ROOT_MAY_EXCEED = (b"ext4 ", b"f2fs ")
"""File systems whose quotas are those of quotactl(2)."""
_SCARCE = (1 << 20, 64)
"""Bytes and inodes."""


class Place(Struct, frozen=True, kw_only=True):
    """One file or directory, and the mount that holds it."""

    path: str
    """Without symlinks, as the process knows it."""
    mode: int
    """`st_mode` of inode(7)."""
    uid: int
    gid: int
    device: str = ""
    """`major:minor` of a device node."""
    acl: bool = False
    """Whether it has an access control list of acl(5), which may grant more than the mode shows."""
    flags: int = 0
    """`f_flag` of statvfs(3): ST_RDONLY, ST_NODEV, ST_NOEXEC of the mount."""
    size: int = 0
    """Bytes of the file system; 0 where it does not count them, as ramfs and tmpfs without a limit."""
    free_bytes: int = 0
    """For root."""
    inodes: int = 0
    """0 where the file system does not count them."""
    free_inodes: int = 0
    project: bool = False
    """Whether the numbers above may be those of a project's quota that CAP_SYS_RESOURCE may exceed, as of ext4.

    It is looked at where they are small.
    """
    immutable: bool = False
    """Whether nothing can be made in it, not even by root: FS_IMMUTABLE_FL of chattr(1)."""
    append_only: bool = False
    """Whether nothing in it can be renamed or removed: FS_APPEND_FL of chattr(1)."""
    sealed: bool = False
    """Whether the file system itself refuses to write here, as a read-only subvolume of btrfs, which no flag shows."""
    linked: bool = False
    """Whether it is an executable file that a dynamic linker starts, ld.so(8)."""
    runs_as: int = 0
    """UID that execve(2) gives to what the process starts: another than 0 for a binary that is set-user-ID of it."""
    interpreter: str = ""
    """The file that execve(2) opens to start this executable file: of `#!`, or the dynamic linker."""
    command: str = ""
    """Of a script that begins with `#!/usr/bin/env X`: where X lies along the PATH of the process."""
    libraries: tuple[str, ...] = ()
    """The shared libraries that the dynamic linker loads."""
    unfound: str = ""
    """X of `#!/usr/bin/env X` that is in no folder of the PATH of the process, from which hooks may have another."""
    defect: str = ""
    """Why execve(2) or the dynamic linker refuses this executable file; empty for a good one, and for what is none."""

    @property
    def started_by(self) -> tuple[str, ...]:
        """The files that are opened to start it."""
        return tuple(filter(None, (self.interpreter, self.command, *self.libraries)))

    @property
    def lacks_a_file(self) -> bool:
        """True when execve(2) or the dynamic linker fails for want of another file: no shell runs the program then."""
        return self.defect.startswith(NEEDS)

    @property
    def read_only(self) -> bool:
        """True when nothing can be written through this mount."""
        return bool(self.flags & os.ST_RDONLY)

    @property
    def full(self) -> bool:
        """True when not even root can make a directory here."""
        return self.inodes > 0 and self.free_inodes == 0 and not self.project


def places(root: str, paths: Sequence[str]) -> bytes:
    """The target of each absolute path below *root* (`/proc/PID/root`), as JSON: path -> Reading of a Place.

    *Errors*: OSError when the process has ended meanwhile.
    """
    process = Caller(root)
    found = {path: _look(process, path) for path in paths}
    os.stat(root)  # the process is still there, or all that is absent was absent with it
    return msgspec.json.encode(found)


def above(path: str) -> list[str]:
    """Each folder on the way to *path*, from `/` on, and *path* itself at the end."""
    names = [name for name in path.split("/") if name]
    return ["/", *("/" + "/".join(names[: end + 1]) for end in range(len(names)))]


def _look(process: Caller, path: str) -> Reading[Place]:
    try:
        handle = open_path(f"{process.root}{path}")
        try:
            return Reading(path, _place(handle, process))
        finally:
            os.close(handle)
    except OSError as error:
        return Reading.from_error(path, error)
    except ValueError as error:  # a NUL byte
        return Reading.without(path, "not-readable", str(error))


def _place(handle: int, process: Caller) -> Place:
    own = f"/proc/self/fd/{handle}"
    seen, mount = os.fstat(handle), os.fstatvfs(handle)
    attributes = _attributes(handle)
    is_device = stat.S_ISCHR(seen.st_mode) or stat.S_ISBLK(seen.st_mode)
    is_program = stat.S_ISREG(seen.st_mode) and bool(seen.st_mode & 0o111)
    target = os.fsencode(os.readlink(own)).decode("utf-8", "backslashreplace")
    path = target.removeprefix(process.root) or "/"
    started = execution(own, path, process, seen.st_size) if is_program else Execution()
    other = is_program and seen.st_mode & stat.S_ISUID and not mount.f_flag & os.ST_NOSUID and _is_binary(own)
    return Place(
        path=path,
        mode=seen.st_mode,
        uid=seen.st_uid,
        gid=seen.st_gid,
        device=f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}" if is_device else "",
        acl=_has_acl(own),
        flags=mount.f_flag,
        size=mount.f_blocks * mount.f_frsize,
        free_bytes=mount.f_bfree * mount.f_frsize,
        inodes=mount.f_files,
        free_inodes=mount.f_ffree,
        project=stat.S_ISDIR(seen.st_mode) and _is_scarce(mount) and _has_project(own, seen.st_dev),
        immutable=bool(attributes & syscalls.STATX_ATTR_IMMUTABLE),
        append_only=bool(attributes & syscalls.STATX_ATTR_APPEND),
        sealed=stat.S_ISDIR(seen.st_mode) and not mount.f_flag & os.ST_RDONLY and is_sealed(own),
        runs_as=seen.st_uid if other and not process.gains_nothing else 0,
        linked=started.linked,
        interpreter=started.interpreter,
        command=started.command,
        libraries=started.libraries,
        unfound=started.unfound,
        defect=started.defect,
    )


def _is_scarce(mount: os.statvfs_result) -> bool:
    few_bytes, few_inodes = _SCARCE
    no_room = mount.f_blocks > 0 and mount.f_bfree * mount.f_frsize < few_bytes
    return no_room or (mount.f_files > 0 and mount.f_ffree < few_inodes)


def _has_project(path: str, device: int) -> bool:
    """Whether new files here get the project ID of the directory: FS_XFLAG_PROJINHERIT of xfsctl(3), chattr +P.

    False for XFS, whose quotas of projects bind everybody. *Source*: fs/quota/dquot.c, ignore_hardlimit.
    """
    number = f" {os.major(device)}:{os.minor(device)} ".encode()
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:
            if not any(number in line and line.partition(b" - ")[2].startswith(_ROOT_MAY_EXCEED) for line in mounts):
                return False
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        flags, _, _, project = struct.unpack_from("<IIII", fcntl.ioctl(handle, _FS_IOC_FSGETXATTR, bytes(28)))
        return bool(flags & _FS_XFLAG_PROJINHERIT) and project != 0
    except OSError:
        return False
    finally:
        os.close(handle)


def _attributes(handle: int) -> int:
    try:
        return syscalls.attributes(handle)
    except OSError:
        return 0


def _is_binary(path: str) -> bool:
    """False for a script: the kernel ignores that it is set-user-ID."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _has_acl(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError as error:
        return error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.ENOENT)
