"""Facts of the next boot."""

from __future__ import annotations

from msgspec import Struct

from probe.reading import Reading
from probe.terms import Role

NO_SYSTEMD: Reading[int] = Reading.without("systemd", "not-tried", "its release decides nothing")


class BootEntry(Struct, frozen=True, kw_only=True):
    """The entry that the boot loader starts."""

    release: str
    """Release in the name of its kernel image; empty when the name has none (`vmlinuz-linux`)."""
    options: tuple[str, ...] | None
    """Parameters of its command line that checks know, no other one; None where only the kernel is told."""


class Under(Struct, frozen=True, kw_only=True):
    """Mount that holds a directory."""

    mount_point: str
    fstype: str
    options: tuple[str, ...]
    """Those of `ro`, `noexec`, `nosuid`, `nodev`, `nosymfollow` that it has, sorted."""
    lost: str = ""
    """Mount point of a present mount that nothing in fstab(5) or systemd mounts again; the directory was on it."""


class MountAtBoot(Struct, frozen=True, kw_only=True):
    """Mount that holds a directory of the kubelet or the runtime: now, and after a boot."""

    role: Role
    now: Under
    then: Reading[Under]


class BootFacts(Struct, frozen=True, kw_only=True):
    """All that files tell of the next boot."""

    entry: Reading[BootEntry]
    running_options: Reading[tuple[str, ...]]
    """Parameters of the running kernel's command line that checks know."""
    configured: Reading[tuple[str, ...]]
    """The same of the file from which the next new entry is made: /etc/default/grub, /etc/kernel/cmdline."""
    installed: tuple[str, ...] = ()
    """Releases with a kernel image in /boot, the newest first."""
    incomplete: tuple[str, ...] = ()
    """Those without an initramfs, where another one has it: a package that was not configured to the end."""
    built_in: Reading[bool]
    """CONFIG_USER_NS of another kernel than the running one; not tried for the same."""
    unread_sysctls: tuple[Reading[str], ...] = ()
    """Files and directories of sysctl.d(5) that could not be read."""
    unsettled: tuple[Reading[str], ...] = ()
    """Package managers that were interrupted, or have not configured the next kernel."""
    systemd: Reading[int] = NO_SYSTEMD
    """Release of systemd on disk, looked for where the next command line asks for cgroup v1."""
    reboot_required: bool = False
    """Debian's and Ubuntu's mark /run/reboot-required."""


NOT_LOOKED_AT: Reading[BootFacts] = Reading.without("the next boot", "not-tried", "not looked at")
