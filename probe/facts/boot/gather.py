"""From the host to the facts of the next boot: a few small files, and nothing is run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from probe.facts.boot.command_line import parse_command_line
from probe.facts.boot.loader import gather_entry, release_of
from probe.facts.boot.model import BootEntry, BootFacts
from probe.facts.boot.versions import version_key
from probe.host.host import Host
from probe.reading import Reading

_BOOT = "/boot"
_IMAGES = ("vmlinuz-", "vmlinux-", "kernel-")
_INITRAMFS = r"(?:initrd\.img|initrd|initramfs)-(.+?)(?:\.img)?"
_CONFIGURED = ("/etc/default/grub", "/etc/kernel/cmdline")
_GRUB_LINE = r"(?m)^[ \t]*GRUB_CMDLINE_LINUX(?:_DEFAULT)?=(.*)$"
_BUILT = rb"(?m)^(?:CONFIG_USER_NS=(y)|# CONFIG_USER_NS is not set)$"
_REBOOT_REQUIRED = "/run/reboot-required"
_SMALL = 64 << 10
_CONFIG_LIMIT = 2 << 20
_IMAGES_LIMIT = 100


def gather_boot(host: Host, running: Reading[str], unread_sysctls: tuple[Reading[str], ...]) -> BootFacts:
    """All that files tell; *running* is the release of the running kernel."""
    installed, incomplete = _installed(host)
    entry = _with_release(host, gather_entry(host), installed)
    return BootFacts(
        entry=entry,
        running_options=host.read_text("/proc/cmdline", _SMALL).parse(parse_command_line),
        configured=_configured(host),
        installed=installed,
        incomplete=incomplete,
        built_in=_built_in(host, running, entry),
        unread_sysctls=unread_sysctls,
        reboot_required=host.status(_REBOOT_REQUIRED).value is not None,
    )


def _installed(host: Host) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Releases in /boot, the newest first, and those of them that lack the initramfs which others have."""
    names = host.list_directory(_BOOT).value or ()
    images = {release_of(name) for name in names if name.startswith(_IMAGES)} - {""}
    found = sorted(images, key=version_key, reverse=True)[:_IMAGES_LIMIT]
    initramfs = {match[1] for name in names if name.startswith("init") and (match := re.fullmatch(_INITRAMFS, name))}
    some = any(release in initramfs for release in found)
    return tuple(found), tuple(release for release in found if some and release not in initramfs)


def _with_release(host: Host, entry: Reading[BootEntry], installed: Sequence[str]) -> Reading[BootEntry]:
    """*entry*; where no boot loader tells it, the kernel that the link /vmlinuz names, else the newest in /boot."""
    if entry.value is not None or entry.kind != "absent":
        return entry
    for link in ("/vmlinuz", "/boot/vmlinuz"):
        release = release_of(host.read_link(link).value or "")
        if release:
            return Reading(link, BootEntry(release=release, options=None))
    return Reading(_BOOT, BootEntry(release=installed[0], options=None)) if installed else entry


def _configured(host: Host) -> Reading[tuple[str, ...]]:
    """Parameters from which new entries are made; `absent` where no such file is."""
    for path in _CONFIGURED:
        text = host.read_text(path, _SMALL)
        if text.kind != "absent":
            return text.parse(lambda content: parse_command_line(_command_line_of(content)))
    return Reading.without(_CONFIGURED[0], "absent", "nor is /etc/kernel/cmdline there")


def _command_line_of(content: str) -> str:
    values = re.findall(_GRUB_LINE, content)
    return " ".join(value.strip().strip("'\"") for value in values) if "GRUB_" in content else content


def _built_in(host: Host, running: Reading[str], entry: Reading[BootEntry]) -> Reading[bool]:
    """CONFIG_USER_NS in the configuration of the next kernel, which is read only for another one."""
    release = entry.value.release if entry.value else ""
    if not release or release == running.value:
        return Reading.without(_BOOT, "not-tried", "the running kernel boots again")
    return host.read(f"{_BOOT}/config-{release}", _CONFIG_LIMIT).parse(parse_built)


def parse_built(content: bytes) -> bool:
    """Whether a kernel's configuration has user namespaces. *Errors*: ValueError when it does not tell."""
    found = re.search(_BUILT, content)
    if not found:
        raise ValueError("no line about CONFIG_USER_NS")
    return found[1] is not None
