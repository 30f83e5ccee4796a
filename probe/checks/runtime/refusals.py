"""Parts of a base specification, or of CRI-O's configuration, that a container with a user namespace is refused."""

from __future__ import annotations

import os
import re

from msgspec import Struct

from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import denied, is_closed, is_unclear, mode_of, why_nobody_starts
from probe.facts.around import AddedDevice, AddedMount, Hook, Place
from probe.finding import Evidence

AS_THE_POD = ("createContainer",)
"""Hooks that run in the container's namespaces and find their program on the node. *Source*: OCI specification."""
IN_THE_IMAGE = "startContainer"
_NEVER_WAITED_FOR = (IN_THE_IMAGE, "poststop")
"""Hooks whose missing program stops no container: seen with runc 1.3.6."""
_LATE = "poststart"
"""Hooks of which the OCI specification only asks for a warning when they fail."""
LATE_FAILS = ("runc", "crun")
"""OCI runtimes whose containers fail all the same: seen with runc 1.3.6 and crun 1.28."""


_NOT_IN_USER_NAMESPACES = frozenset(
    {
        *("9p", "afs", "autofs", "bcachefs", "bpf", "btrfs", "ceph", "cifs", "configfs", "cramfs", "debugfs"),
        *("devtmpfs", "ecryptfs", "efivarfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fusectl", "gfs2"),
        *("hfs", "hfsplus", "hugetlbfs", "iso9660", "jffs2", "jfs", "minix", "msdos", "nfs", "nfs4", "nfsd", "nilfs2"),
        *("ntfs", "ntfs3", "ocfs2", "orangefs", "pstore", "reiserfs", "resctrl", "romfs", "rpc_pipefs", "securityfs"),
        *("selinuxfs", "smb3", "squashfs", "tracefs", "ubifs", "udf", "ufs", "vfat", "virtiofs", "xfs", "zfs"),
    }
)
"""File systems without FS_USERNS_MOUNT."""
_IN_USER_NAMESPACES = frozenset(
    ("binder", "binfmt_misc", "cgroup", "cgroup2", "devpts", "mqueue", "overlay", "proc", "ramfs", "sysfs", "tmpfs")
)
"""File systems with FS_USERNS_MOUNT, of which the OCI runtimes mount cgroups in their own way."""
_NOT_FOR_TMPFS = frozenset(("noswap", "quota", "usrquota", "grpquota"))
"""*Source*: mm/shmem.c, shmem_parse_one: EINVAL in a user namespace."""
_OPTIONS = {
    "mqueue": frozenset[str](),
    "sysfs": frozenset[str](),
    "devpts": frozenset(("gid", "max", "mode", "newinstance", "ptmxmode", "uid")),
    "tmpfs": frozenset(("gid", "inode32", "inode64", "mode", "nr_blocks", "nr_inodes", "size", "tmpcopyup", "uid")),
}
"""Options of their own; huge= and mpol= of tmpfs depend on the kernel and the machine. *Source*: tmpfs(5)."""
_FLAGS = frozenset(
    {
        *("async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "lazytime", "mand", "noatime"),
        *("nodev", "nodiratime", "noexec", "nolazytime", "nomand", "norelatime", "nostrictatime", "nosuid", "private"),
        *("rbind", "relatime", "remount", "ro", "rprivate", "rshared", "rslave", "runbindable", "rw", "shared"),
        *("slave", "strictatime", "suid", "sync", "unbindable"),
    }
)
"""Options of each mount. *Source*: OCI runtime specification, config.md, Linux mount options."""
_CLEARS = {"rw": os.ST_RDONLY, "exec": os.ST_NOEXEC, "suid": os.ST_NOSUID, "dev": os.ST_NODEV}
_OWNER = r"[ug]id=(\d{1,20})"
_WITH_OWNER = ("tmpfs", "devpts")
"""File systems that refuse an owner that is not mapped, with EINVAL."""


class Refusal(Struct, frozen=True):
    """The reason that each container with a user namespace fails."""

    reason: str
    message: str
    evidence: tuple[Evidence, ...]


def is_late_and_missing(hook: Hook) -> bool:
    """True when it runs when the container has started already, and its program is not there."""
    return hook.when == _LATE and bool(hook.steps) and hook.steps[0].kind == "absent"


def is_defective(hook: Hook) -> bool:
    """True when execve(2) refuses its program. crun's execvpe(3) then starts a shell, which runs scripts and no ELF."""
    waited_for = hook.when not in (*_NEVER_WAITED_FOR, _LATE)
    return waited_for and bool(hook.steps) and hook.steps[0].value is not None and bool(hook.steps[0].value.defect)


def unfound_of(hook: Hook) -> str:
    """Program of a script of env(1) that is in no folder of the runtime's own PATH; empty where there is none."""
    program = hook.steps[0].value if hook.steps and hook.when not in _NEVER_WAITED_FOR else None
    return program.unfound if program else ""


def has_unclear_time(hook: Hook, oci_runtime: str) -> bool:
    """Whether it may have no time: runc ends a hook whose timeout is 0 at once, for crun that is no limit.

    Seen with runc 1.3.6 and crun 1.28; the OCI specification asks for a timeout above 0.
    """
    if hook.timeout is None or hook.timeout > 0 or hook.when in _NEVER_WAITED_FOR:
        return False
    return oci_runtime != "crun" or hook.timeout < 0


def own_variable(hook: Hook) -> str:
    """The variable of a hook's own environment that decides which files start its program; empty without one.

    A script of env(1) looks for its program in the PATH of its hook, the dynamic linker in LD_LIBRARY_PATH.
    """
    program = hook.steps[0].value if hook.steps and hook.when not in _NEVER_WAITED_FOR else None
    if program is None or not hook.variables:
        return ""
    if program.command or program.unfound:
        return "PATH"
    return next((name for name in hook.variables if name.startswith("LD_")), "")


def refused_hook(hook: Hook, oci_runtime: str) -> Refusal | None:
    """A program that is not there, or that a Pod's own root may not execute."""
    if not hook.steps or hook.when in _NEVER_WAITED_FOR or (hook.when == _LATE and oci_runtime not in LATE_FAILS):
        return None
    program = hook.steps[0]
    if program.kind == "absent":
        message = f"{_named(hook)} does not exist"
        return Refusal("HookNotExecutable", message, (Evidence(hook.path, problem=program.problem),))
    if hook.timeout is not None and hook.timeout <= 0 and oci_runtime == "runc":
        message = f"{_named(hook)} has no time to run: its timeout is {hook.timeout}"
        return Refusal("HookNotExecutable", message, (Evidence(hook.path, f"timeout {hook.timeout}"),))
    if own_variable(hook):
        return None  # which files it needs is not known
    if program.value and program.value.defect and _starts_nothing(program.value, oci_runtime):
        message = f"{_named(hook)} {program.value.defect}"
        return Refusal("HookNotExecutable", message, (Evidence(program.source, program.value.defect),))
    if why := why_nobody_starts(hook.steps):
        message = f"{_named(hook)} {why}"
        return Refusal("HookNotExecutable", message, steps_of(hook))
    shut = [step for step in hook.steps if step.value and is_closed(step.value) and not is_unclear(step.value)]
    unread = [one for one in hook.libraries if one.value and not one.value.mode & 0o004 and not is_unclear(one.value)]
    if hook.when not in AS_THE_POD or not (shut or unread):
        return None
    what = denied(shut[0], program) if shut else f"read {inline(unread[0].source)}"
    message = f"the {hook.when} hook {inline(hook.path)} runs as the Pod's own root, which may not {what}"
    return Refusal("HookNotExecutable", message, steps_of(hook))


def _starts_nothing(program: Place, oci_runtime: str) -> bool:
    """Whether the OCI runtime starts nothing in place of a program with a defect; crun gives some to a shell."""
    return oci_runtime == "runc" or (oci_runtime == "crun" and program.lacks_a_file)


def _named(hook: Hook) -> str:
    return f"the {hook.when} hook {inline(hook.path)}, which runs for each container,"


def steps_of(hook: Hook) -> tuple[Evidence, ...]:
    """The way to the program as evidence."""
    return tuple(
        mode_of(step.value, step.source) if step.value else Evidence(step.source, problem=step.problem)
        for step in (*hook.steps, *hook.libraries)
    )


def _cleared(mount: AddedMount) -> str:
    """The option of a bind mount that would clear a flag of the mount it binds; empty without one.

    *Source*: mount_namespaces(7), locked flags; runc, libcontainer/rootfs_linux.go, `mountFd`, since 1.2.
    """
    flags = mount.source.value.flags if mount.source.value else 0
    return next((option for option, flag in _CLEARS.items() if option in mount.options and flags & flag), "")


def refused_mount(mount: AddedMount, ids: int, source: str, oci_runtime: str = "") -> Refusal | None:
    """A bind mount of nothing, a file system of the initial user namespace, or an owner that is not mapped."""
    where = inline(mount.destination)
    if mount.source.kind == "absent":
        message = f"each container binds {inline(mount.source.source)} at {where}, and the source does not exist"
        return Refusal("MountRefused", message, (Evidence(mount.source.source, problem=mount.source.problem),))
    if mount.fstype == "none" and "remount" not in mount.options:
        message = f"each container has a mount at {where} without a file system or a source to bind"
        return Refusal("MountRefused", message, (Evidence(source, f"no type at {mount.destination}"),))
    if mount.fstype in _NOT_IN_USER_NAMESPACES:
        message = f"each container mounts {mount.fstype} at {where}, which a user namespace does not allow"
        return Refusal("MountRefused", message, (Evidence(source, f"{mount.fstype} at {mount.destination}"),))
    if lost := sorted(_NOT_FOR_TMPFS.intersection(mount.options)) if mount.fstype == "tmpfs" else []:
        message = f"each container mounts tmpfs at {where} with {lost[0]}, which a user namespace does not allow"
        return Refusal("MountRefused", message, (Evidence(source, f"{lost[0]} at {mount.destination}"),))
    cleared = _cleared(mount) if oci_runtime == "runc" else ""
    if cleared:
        message = (
            f"each container binds {inline(mount.source.source)} at {where} with {cleared}; its mount on the node has "
            "the opposite option, which runc may not change in a user namespace"
        )
        return Refusal("MountRefused", message, (Evidence(mount.source.source, f"{cleared} at {mount.destination}"),))
    owners = [found for option in mount.options if (found := re.fullmatch(_OWNER, option)) and int(found[1]) >= ids]
    if mount.fstype in _WITH_OWNER and owners:
        message = f"each container mounts {mount.fstype} at {where} with {owners[0][0]}, an ID outside a Pod's range"
        return Refusal("MountRefused", message, (Evidence(source, f"{owners[0][0]} at {mount.destination}"),))
    return None


def is_unclear_mount(mount: AddedMount) -> bool:
    """Whether nothing is known of the file system, or of what is bound by a path that begins in the bundle."""
    if not mount.fstype:
        return mount.source.kind == "not-tried"
    known = _OPTIONS.get(mount.fstype)
    names = {option.partition("=")[0] for option in mount.options}
    return mount.fstype not in _IN_USER_NAMESPACES or (known is not None and not names <= _FLAGS | known)


def refused_device(device: AddedDevice, oci_runtime: str) -> Refusal | None:
    """A device that the node does not have: in a user namespace runc binds the node's own, and makes none."""
    if device.source.kind != "absent" or oci_runtime != "runc":
        return None
    message = f"each container gets {inline(device.path)} from the node, where it does not exist"
    return Refusal("MountRefused", message, (Evidence(device.path, problem=device.source.problem),))


def is_unclear_hook(hook: Hook) -> bool:
    """Whether a step could not be read, has an ACL, or a script may be executed and not be read."""
    if hook.when not in AS_THE_POD:
        return False
    program = hook.steps[0].value if hook.steps else None
    unread = any(step.value is None or (is_closed(step.value) and is_unclear(step.value)) for step in hook.steps)
    unread |= any(one.value is None or not one.value.mode & 0o004 for one in hook.libraries)
    return unread or program is None or not (program.mode & 0o004 or program.linked)
