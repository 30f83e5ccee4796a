"""Entry that the boot loader starts: GRUB's menu, entries of the Boot Loader Specification, Raspberry Pi's file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from probe.facts.boot.command_line import parse_command_line
from probe.facts.boot.model import BootEntry
from probe.host.host import Host
from probe.host.namespaces import import_own
from probe.reading import Reading, problem_of

GRUB = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
ENTRIES = ("/boot/loader/entries", "/efi/loader/entries", "/boot/efi/loader/entries")
_UNIFIED = ("/boot/EFI/Linux", "/efi/EFI/Linux", "/boot/efi/EFI/Linux")
"""Unified kernel images, which systemd-boot and firmware start as well. *Source*: Boot Loader Specification,
type 2."""
_FIRMWARE = ("/boot/firmware/cmdline.txt", "/boot/cmdline.txt")
"""Command line of a Raspberry Pi, whose kernel image has no release in its name."""
STAGED = ("/run/ostree/staged-deployment", "/run/composefs/staged-deployment")
"""Deployment that ostree or bootc has made ready. *Source*: ostree-admin-deploy(1), option --stage; bootc."""
_KEXEC = "/sys/kernel/kexec_loaded"
_BOOT_NEXT = "/sys/firmware/efi/efivars/BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""Entry of the firmware that starts once, before the usual one. *Source*: UEFI specification, Globally Defined
Variables."""
_LOADER_INFO, _STUB_INFO = (
    f"/sys/firmware/efi/efivars/{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f" for name in ("LoaderInfo", "StubInfo")
)
"""Names of the boot loader, and of the stub of the unified kernel image, that started this system.

*Source*: systemd.io, Boot Loader Interface."""
_LIMIT = 1 << 20
ENTRY_LIMIT = 64 << 10
_SMALL = 1 << 10
_LONGEST = 4096  # COMMAND_LINE_SIZE of the kernel is 4096 at most
_IMAGE = r"(?:vmlinu[xz]|kernel|linux|Image)-(\d[\w.+~^-]{0,120})"
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
"""A variable of GRUB in a text."""


def gather_entry(host: Host, automounts: Sequence[str] = ()) -> Reading[BootEntry]:
    """The entry that starts at the next boot. Nothing below *automounts* is looked at.

    `absent` where no boot loader is found whose configuration is a file: an image of the whole system, for example.
    """
    if elsewhere := _starts_elsewhere(host):
        return elsewhere
    for path in () if _is_remainder(host) else GRUB:
        if closed := _unopened(path, automounts):
            return closed
        text = host.read_text(path, _LIMIT)
        if text.value is not None:
            started: Reading[BootEntry] = import_own("probe.facts.boot.grub").gather_grub(
                host, os.path.dirname(path), text
            )
            return started
        if text.kind != "absent":
            return problem_of(text)
    for directory in _UNIFIED:
        if closed := _unopened(directory, automounts):
            return closed
        listed = host.list_directory(directory)
        images = [name for name in listed.value or () if name.endswith((".efi", ".uki"))]
        if images:
            found: Reading[BootEntry] = import_own("probe.facts.boot.unified").gather_unified(host, directory, images)
            return found
        if listed.kind not in (None, "absent"):
            return problem_of(listed)
    for directory in ENTRIES:
        listed = host.list_directory(directory)
        if listed.value:
            return _from_entries(host, directory)
        if listed.kind not in (None, "absent"):
            return problem_of(listed)
    for path in _FIRMWARE:
        if closed := _unopened(path, automounts):
            return closed
        text = host.read_text(path, ENTRY_LIMIT)
        if text.kind != "absent":
            return text.parse(lambda line: BootEntry(release="", options=parse_command_line(line)))
    return Reading.without("/boot", "absent", "has no configuration of a boot loader")


def _starts_elsewhere(host: Host) -> Reading[BootEntry] | None:
    """Problem where the next boot passes over the entries that are there now."""
    for path in STAGED:
        if host.status(path).kind is None:
            return Reading.without(path, "not-tried", "a new deployment is staged, whose entry is written at shutdown")
    if (host.read_text(_KEXEC, _SMALL).value or "").strip() == "1":
        return Reading.without(_KEXEC, "not-tried", "a kernel is loaded by kexec(8), and a reboot may start that one")
    if host.status(_BOOT_NEXT).kind is None:
        return Reading.without(_BOOT_NEXT, "not-tried", "the firmware starts another entry once")
    return None


def _unopened(path: str, automounts: Sequence[str]) -> Reading[BootEntry] | None:
    """Problem where a look at *path* would mount a file system."""
    point = next((point for point in automounts if path.startswith(f"{point}/")), None)
    return (
        Reading.without(point, "not-tried", "is mounted by the first access, which is left to others")
        if point
        else None
    )


def _is_remainder(host: Host) -> bool:
    """True when systemd-boot or the firmware itself started this system, so that no grub.cfg counts."""
    return _is_systemd_boot(host) or (host.status(_STUB_INFO).kind is None and not _loader(host))


def _is_systemd_boot(host: Host) -> bool:
    return _loader(host).startswith("systemd-boot")


def _loader(host: Host) -> str:
    """Name that the boot loader gave itself; empty where it gave none, as GRUB before 2.14."""
    return (host.read(_LOADER_INFO, _SMALL).value or b"")[4:].decode("utf-16-le", "replace")


def _from_entries(host: Host, directory: str) -> Reading[BootEntry]:
    """The default of the entries in *directory*, which systemd-boot shows, or a GRUB whose grub.cfg is elsewhere."""
    found: Reading[BootEntry]
    if host.status(f"{os.path.dirname(directory)}/loader.conf").kind is not None and not _is_systemd_boot(host):
        grub = import_own("probe.facts.boot.grub")
        variables = grub.environment_elsewhere(host)
        if variables.value != {}:
            found = grub.gather_entries(host, directory, variables)
            return found
    found = import_own("probe.facts.boot.entries").gather_entries(host, directory)
    return found


def parse_fields(text: str) -> dict[str, list[str]]:
    """Keys of an entry of the Boot Loader Specification with their values."""
    fields: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, value = line.strip().replace("\t", " ").partition(" ")
        fields.setdefault(name, []).append(value.strip())
    return fields


def parse_entry(text: str, variables: dict[str, str]) -> BootEntry:
    """An entry of the Boot Loader Specification. *Errors*: ValueError when it starts no Linux kernel."""
    fields = parse_fields(text)
    image = (fields.get("linux") or fields.get("efi") or [""])[0]
    if not image:
        raise ValueError("starts no Linux kernel")
    options = expand(" ".join(fields.get("options", ())), variables)
    named = (fields.get("version") or [""])[0]
    release = release_of(image) or (named if re.match(r"\d+\.\d+", named) else "")
    return BootEntry(release=release, options=parse_command_line(options))


def release_of(image: str) -> str:
    """`6.12.9-amd64` of `/boot/vmlinuz-6.12.9-amd64`; empty when the name has none."""
    found = re.fullmatch(_IMAGE, image.rpartition("/")[2].removesuffix(".old").removesuffix(".efi"))
    return found[1] if found else ""


def expand(text: str, variables: dict[str, str]) -> str:
    """*text* with the values of its variables, as far as a kernel reads its command line; unknown ones are empty."""
    found = text[:_LONGEST]
    if "$" not in found:
        return found
    return VARIABLE.sub(lambda one: variables.get(one[1], "")[:_LONGEST], found)[:_LONGEST]
