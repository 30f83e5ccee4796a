"""Entry that the boot loader starts: GRUB's menu, entries of the Boot Loader Specification, Raspberry Pi's file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from msgspec import Struct, field

from probe.facts.boot.command_line import parse_command_line
from probe.facts.boot.model import BootEntry
from probe.facts.boot.versions import menu_order
from probe.host.host import Host
from probe.host.namespaces import import_own
from probe.reading import Reading, problem_of

_GRUB = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
_ENTRIES = ("/boot/loader/entries", "/efi/loader/entries", "/boot/efi/loader/entries")
_UNIFIED = ("/boot/EFI/Linux", "/efi/EFI/Linux", "/boot/efi/EFI/Linux")
"""Unified kernel images, which systemd-boot and the firmware start beside entries. *Source*: Boot Loader Specification,
type 2."""
_FIRMWARE = ("/boot/firmware/cmdline.txt", "/boot/cmdline.txt")
"""Command line of a Raspberry Pi, whose kernel image has no release in its name."""
STAGED = "/run/ostree/staged-deployment"
_LIMIT = 1 << 20
_ENTRY_LIMIT = 64 << 10
_MENU_LIMIT = 500
_FEW = "probe.facts.boot.unified"
_IMAGE = r"(?:vmlinu[xz]|kernel|linux|Image)-(\d[\w.+~^-]{0,120})"
_BLOCK = r"^\s*(menuentry|submenu)\s+(?:'([^'\n]*)'|\"([^\"\n]*)\"|(\S+))(.*)\{\s*$"
_ID = r"(?:\$\{?menuentry_id_option\}?|--id)\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))"
_LINUX = r"^\s*linux(?:16|efi)?\s+(\S+)[ \t]*(.*)$"
_DEFAULT = r"(?m)^[ \t]*set[ \t]+default=(?:\"([^\"\n]*)\"|'([^'\n]*)'|(\S*))[ \t]*$"
_VARIABLE = r"\$\{?(\w+)\}?"


class MenuEntry(Struct):
    """An entry or a submenu of GRUB."""

    title: str
    identity: str = ""
    image: str = ""
    arguments: str = ""
    entries: list[MenuEntry] = field(default_factory=list)


def gather_entry(host: Host) -> Reading[BootEntry]:
    """The entry that starts at the next boot.

    `absent` where no boot loader is found whose configuration is a file: an image of the whole system, for example.
    """
    for path in _GRUB:
        text = host.read_text(path, _LIMIT)
        if text.value is not None:
            variables = _grub_variables(host, os.path.dirname(path))
            if re.search(r"^[ \t]*blscfg\b", text.value, re.MULTILINE):
                return _from_entries(host, _ENTRIES[0], variables)
            return text.parse(lambda menu: parse_grub(menu, variables))  # noqa: B023
        if text.kind != "absent":
            return problem_of(text)
    for directory in _UNIFIED:
        images = [name for name in host.list_directory(directory).value or () if name.endswith(".efi")]
        if images:
            found: Reading[BootEntry] = import_own(_FEW).gather_unified(host, directory, images)
            return found
    for directory in _ENTRIES:
        if host.list_directory(directory).value:
            return _from_entries(host, directory, _unread_grub_variables(host, directory))
    for path in _FIRMWARE:
        text = host.read_text(path, _ENTRY_LIMIT)
        if text.value is not None:
            return text.parse(lambda line: BootEntry(release="", options=parse_command_line(line)))
    return Reading.without("/boot", "absent", "has no configuration of a boot loader")


def parse_grub(text: str, variables: dict[str, str]) -> BootEntry:
    """The default entry of grub.cfg; *variables* are those of grubenv. *Errors*: ValueError without that entry."""
    menu = parse_menu(text)
    wanted = variables.get("next_entry") or _default(text, variables)
    found = _find(menu, wanted) or _find(menu, "0")  # GRUB starts the first one where the default does not exist
    if found is None or not found.image:
        raise ValueError(f"no entry {wanted[:80]!r} with a Linux kernel")
    return BootEntry(release=release_of(found.image), options=parse_command_line(_expand(found.arguments, variables)))


def parse_menu(text: str) -> list[MenuEntry]:
    """The menu of grub.cfg, submenus with their entries."""
    top: list[MenuEntry] = []
    stack: list[list[MenuEntry] | None] = [top]
    count = 0
    for line in text.split("\n"):
        block = re.match(_BLOCK, line) if "menu" in line else None
        if block and count < _MENU_LIMIT:
            count += 1
            identity = re.search(_ID, block[5])
            entry = MenuEntry(_one(block.groups()[1:4]), _one(identity.groups()) if identity else "")
            if stack[-1] is not None:
                stack[-1].append(entry)
            stack.append(entry.entries)
        elif line.rstrip().endswith("{"):
            stack.append(None)
        elif line.strip() == "}" and len(stack) > 1:
            stack.pop()
        elif "linux" in line and (linux := re.match(_LINUX, line)) and len(stack) > 1 and (owner := _owner(stack)):
            owner.image = owner.image or linux[1]
            owner.arguments = owner.arguments or linux[2]
    return top


def _owner(stack: Sequence[list[MenuEntry] | None]) -> MenuEntry | None:
    """The entry whose block is open."""
    outer = next((level for level in reversed(stack[:-1]) if level), None)
    return outer[-1] if outer else None


def _default(text: str, variables: dict[str, str]) -> str:
    """Default of the menu: a number, a title or an identity; in a submenu `A>B`."""
    named = [_one(groups) for groups in re.findall(_DEFAULT, text)]
    chosen = [each for each in named if "next_entry" not in each]
    return (_expand(chosen[-1], variables) if chosen else "") or "0"


def _find(menu: Sequence[MenuEntry], wanted: str) -> MenuEntry | None:
    first, _, rest = wanted.partition(">")
    if first.isdecimal():
        found = menu[int(first)] if len(first) < 4 and int(first) < len(menu) else None
    else:
        found = next((entry for entry in menu if first and first in (entry.identity, entry.title)), None)
    if found is not None and (rest or not found.image):
        return _find(found.entries, rest or "0")
    return found


def _grub_variables(host: Host, directory: str) -> dict[str, str]:
    """Variables of grubenv, empty without one. *Source*: GRUB manual, environment block."""
    text = host.read_text(f"{directory}/grubenv", _ENTRY_LIMIT).value or ""
    pairs = (line.partition("=") for line in text.split("\n") if not line.startswith("#"))
    return {name: value.strip() for name, equals, value in pairs if equals}


def _unread_grub_variables(host: Host, directory: str) -> dict[str, str]:
    """Variables of a GRUB whose grub.cfg lies on the EFI system partition, as in RHEL 8; empty for systemd-boot."""
    if host.status(f"{os.path.dirname(directory)}/loader.conf").value:
        return {}
    return next(filter(None, (_grub_variables(host, os.path.dirname(path)) for path in _GRUB)), {})


def _from_entries(host: Host, directory: str, variables: dict[str, str]) -> Reading[BootEntry]:
    """The default of the entries of a directory. *Source*: Boot Loader Specification, type 1; loader.conf(5)."""
    listed = host.list_directory(directory)
    if listed.value is None:
        return problem_of(listed)
    names = [name for name in listed.value if name.endswith(".conf")]
    if not names:
        return Reading.without(directory, "absent", "has no entry")
    if any(name.startswith("ostree-") for name in names) and host.status(STAGED).value:
        return Reading.without(STAGED, "not-tried", "a new deployment is staged, whose entry is written at shutdown")
    wanted = variables.get("next_entry") or variables.get("saved_entry") or ""
    if not variables:
        unified = import_own(_FEW)
        if unified.is_chosen(host):
            by_bootctl: Reading[BootEntry] = unified.CHOSEN
            return by_bootctl
        loader = host.read_text(f"{os.path.dirname(directory)}/loader.conf", _ENTRY_LIMIT).value or ""
        wanted = next((line.split()[1] for line in loader.split("\n") if re.match(r"default\s+\S", line)), "")
    ordered = sorted(names, key=menu_order, reverse=True)
    usual = [name for name in ordered if "-rescue" not in name] or ordered
    chosen = next((name for name in ordered if wanted and _fits(name, wanted)), None)
    if chosen is None and wanted.isdecimal():
        chosen = ordered[int(wanted)] if len(wanted) < 4 and int(wanted) < len(ordered) else None
    text = host.read_text(f"{directory}/{chosen or usual[0]}", _ENTRY_LIMIT)
    return text.parse(lambda entry: parse_entry(entry, variables))


def _fits(name: str, wanted: str) -> bool:
    return any(fnmatchcase(each, wanted) for each in (name, name.removesuffix(".conf")))


def parse_entry(text: str, variables: dict[str, str]) -> BootEntry:
    """An entry of the Boot Loader Specification. *Errors*: ValueError when it starts no Linux kernel."""
    fields: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, value = line.strip().replace("\t", " ").partition(" ")
        fields.setdefault(name, []).append(value.strip())
    image = (fields.get("linux") or fields.get("efi") or [""])[0]
    if not image:
        raise ValueError("starts no Linux kernel")
    options = _expand(" ".join(fields.get("options", ())), variables)
    named = (fields.get("version") or [""])[0]
    release = release_of(image) or (named if re.match(r"\d+\.\d+", named) else "")
    return BootEntry(release=release, options=parse_command_line(options))


def release_of(image: str) -> str:
    """`6.12.9-amd64` of `/boot/vmlinuz-6.12.9-amd64`; empty when the name has none."""
    found = re.fullmatch(_IMAGE, image.rpartition("/")[2].removesuffix(".old").removesuffix(".efi"))
    return found[1] if found else ""


def _expand(text: str, variables: dict[str, str]) -> str:
    """*text* with the values of its variables; unknown ones are empty."""
    return re.sub(_VARIABLE, lambda found: variables.get(found[1], ""), text) if "$" in text else text


def _one(groups: Sequence[str | None]) -> str:
    return next((each for each in groups if each), "")
