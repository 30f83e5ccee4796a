"""From the host to the facts of the next boot: a few small files, and nothing is run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from probe.facts.boot.command_line import cgroup_version_of, parse_command_line
from probe.facts.boot.loader import gather_entry, release_of
from probe.facts.boot.model import NO_SYSTEMD, BootEntry, BootFacts
from probe.facts.boot.packages import gather_unsettled
from probe.facts.boot.versions import version_key
from probe.host.host import Host
from probe.reading import Reading, problem_of

_BOOT = "/boot"
_MODULES = "/lib/modules"
_IMAGES = ("vmlinuz-", "vmlinux-", "kernel-")
_INITRAMFS = r"(?:initrd\.img|initrd|initramfs)-(.+?)(?:\.img)?"
_DEFAULTS = "/etc/default/grub"
_KERNEL_INSTALL = "/etc/kernel/cmdline"
_GRUB_LINE = r"(?m)^[ \t]*(?:export[ \t]+)?(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)=(.*)$"
_GRUB_VARIABLE = r"\$\{?(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)\}?"
_DROP_INS = 50
_ASSIGNMENTS = 100
_LONGEST = 4096  # COMMAND_LINE_SIZE of the kernel is 4096 at most
_BUILT = rb"(?m)^(?:CONFIG_USER_NS=(y)|# CONFIG_USER_NS is not set)$"
_REBOOT_REQUIRED = "/run/reboot-required"
_LIBRARIES = (
    "/usr/lib/systemd",
    "/usr/lib64/systemd",
    "/usr/lib/x86_64-linux-gnu/systemd",
    "/usr/lib/aarch64-linux-gnu/systemd",
)
_LIBRARY = r"libsystemd-shared-(\d{2,4})\b"
_SMALL = 64 << 10
_CONFIG_LIMIT = 2 << 20
_IMAGES_LIMIT = 100


def gather_boot(
    host: Host, running: Reading[str], unread_sysctls: tuple[Reading[str], ...], automounts: Sequence[str] = ()
) -> BootFacts:
    """All that files tell; *running* is the release of the running kernel. Nothing below *automounts* is looked at."""
    installed, incomplete = _installed(host) if _BOOT not in automounts else ((), ())
    entry = gather_entry(host, automounts)
    if entry.kind == "absent" and running.value in installed:
        entry = _with_release(host, installed)
    if entry.value is not None and not entry.value.release:
        entry, installed = _by_modules(host, entry.value, entry.source, installed)
    return BootFacts(
        entry=entry,
        running_options=host.read_text("/proc/cmdline", _SMALL).parse(parse_command_line),
        configured=_configured(host, entry.source),
        installed=installed,
        incomplete=incomplete,
        built_in=_built_in(host, running, entry),
        unread_sysctls=unread_sysctls,
        unsettled=gather_unsettled(host, running.value or "", entry.value.release if entry.value else ""),
        systemd=_systemd(host) if entry.value and cgroup_version_of(entry.value.options or ()) == 1 else NO_SYSTEMD,
        reboot_required=host.status(_REBOOT_REQUIRED).value is not None,
    )


def _installed(host: Host) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Releases in /boot, the newest first, and those of them that lack the initramfs which others have."""
    names = host.list_directory(_BOOT).value or ()
    images = {release_of(name) for name in names if name.startswith(_IMAGES)} - {""}
    found = _newest_first(images)
    initramfs = {match[1] for name in names if name.startswith("init") and (match := re.fullmatch(_INITRAMFS, name))}
    some = any(release in initramfs for release in found)
    return found, tuple(release for release in found if some and release not in initramfs)


def _newest_first(releases: set[str]) -> tuple[str, ...]:
    return tuple(sorted(releases, key=version_key, reverse=True))[:_IMAGES_LIMIT]


def _with_release(host: Host, installed: Sequence[str]) -> Reading[BootEntry]:
    """The kernel that the link /vmlinuz names, else the newest in /boot: what an unknown boot loader starts."""
    for link in ("/vmlinuz", "/boot/vmlinuz"):
        release = release_of(host.read_link(link).value or "")
        if release:
            return Reading(link, BootEntry(release=release, options=None))
    return Reading(_BOOT, BootEntry(release=installed[0], options=None))


def _by_modules(
    host: Host, entry: BootEntry, source: str, installed: tuple[str, ...]
) -> tuple[Reading[BootEntry], tuple[str, ...]]:
    """*entry*, whose kernel image has no release in its name, with the release of the only modules on disk.

    Arch and Alpine replace the image in place, and the modules with it.
    """
    names = [name for name in host.list_directory(_MODULES).value or () if name[:1].isdecimal()][:_IMAGES_LIMIT]
    whole = tuple(name for name in names if host.status(f"{_MODULES}/{name}/modules.dep").kind is None)
    only = whole[0] if len(whole) == 1 and set(installed) <= set(whole) else ""
    return Reading(source, replace(entry, release=only)), _newest_first({*installed, *whole})


def _systemd(host: Host) -> Reading[int]:
    """Release of systemd, by the name of its library."""
    for directory in _LIBRARIES:
        names = host.list_directory(directory).value or ()
        found = [int(match[1]) for name in names if (match := re.match(_LIBRARY, name))]
        if found:
            return Reading(directory, max(found))
    return Reading.without(_LIBRARIES[0], "absent", "no library tells the release of systemd")


def _configured(host: Host, entry: str) -> Reading[tuple[str, ...]]:
    """Parameters from which new entries are made; *entry* is the source of the present one. `absent` without a file."""
    if entry.endswith((".conf", ".efi")):
        return host.read_text(_KERNEL_INSTALL, _SMALL).parse(parse_command_line)
    text = host.read_text(_DEFAULTS, _SMALL)
    if text.kind == "absent":
        return host.read_text(_KERNEL_INSTALL, _SMALL).parse(parse_command_line)
    drop_ins = host.list_directory(f"{_DEFAULTS}.d")
    if drop_ins.value is None and drop_ins.kind != "absent":
        return problem_of(drop_ins)
    names = sorted(name for name in drop_ins.value or () if name.endswith(".cfg"))[:_DROP_INS]
    texts = [text, *(host.read_text(f"{_DEFAULTS}.d/{name}", _SMALL) for name in names)]
    if unread := next((each for each in texts if each.value is None), None):
        return problem_of(unread)
    return text.parse(lambda _: parse_command_line(grub_command_line("\n".join(each.value or "" for each in texts))))


def grub_command_line(content: str) -> str:
    """GRUB_CMDLINE_LINUX and GRUB_CMDLINE_LINUX_DEFAULT of files for the shell, of which the later ones win."""
    values: dict[str, str] = {}
    for name, value in re.findall(_GRUB_LINE, content)[:_ASSIGNMENTS]:
        words = re.sub(_GRUB_VARIABLE, lambda found: values.get(found[1], ""), value[:_LONGEST].strip().strip("'\""))
        values[name] = words[:_LONGEST]
    return " ".join(values.values())


def _built_in(host: Host, running: Reading[str], entry: Reading[BootEntry]) -> Reading[bool]:
    """CONFIG_USER_NS in the configuration of the next kernel, which is read only for another one."""
    release = entry.value.release if entry.value else ""
    if not release or release == running.value:
        return Reading.without(_BOOT, "not-tried", "the running kernel boots again")
    return host.read(f"{_BOOT}/config-{release}", _CONFIG_LIMIT).parse(parse_built)


def parse_built(content: bytes) -> bool:
    """True when a kernel's configuration has user namespaces. *Errors*: ValueError when it does not tell."""
    found = re.search(_BUILT, content)
    if not found:
        raise ValueError("no line about CONFIG_USER_NS")
    return found[1] is not None
