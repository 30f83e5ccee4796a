"""Unified kernel image that systemd-boot starts. *Source*: systemd-boot(7), systemd-stub(7), loader.conf(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from probe.facts.boot.command_line import parse_command_line
from probe.facts.boot.model import BootEntry
from probe.facts.boot.versions import Key, menu_order, version_key
from probe.host.host import Host
from probe.reading import Reading, problem_of

_IMAGES_LIMIT = 8
_VARIABLES = "/sys/firmware/efi/efivars"
_CHOICES = ("LoaderEntryOneShot", "LoaderEntryDefault", "LoaderEntryPreferred")
_VENDOR = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""Variables in which `bootctl set-default` keeps its choice; their presence is enough to know that nothing is known."""
CHOSEN: Reading[BootEntry] = Reading.without(_VARIABLES, "not-readable", "has a choice of bootctl, which is not read")
_LIMIT = 64 << 10


def gather_unified(host: Host, directory: str, images: Sequence[str]) -> Reading[BootEntry]:
    """The image of *directory* that starts at the next boot; a problem where systemd-boot does not choose it alone."""
    system = os.path.dirname(os.path.dirname(directory))
    loader = host.read_text(f"{system}/loader/loader.conf", _LIMIT)
    if loader.value is None and loader.kind != "absent":
        return problem_of(loader)
    if loader.value is None and not host.list_directory(f"{system}/EFI/systemd").value:
        return _unknown(directory, "has unified kernel images, and what starts them is not known")
    if is_chosen(host):
        return CHOSEN
    named = dict(re.findall(r"(?m)^(default|preferred)[ \t]+(\S+)", loader.value or ""))
    if "preferred" in named or named.get("default", "").startswith(("@", "auto-")):
        return _unknown(loader.source, "leaves the default to a pattern or a variable that is not followed")
    wanted = [named["default"]] if "default" in named else []
    if wanted:
        fitting = [name for name in images if fnmatchcase(name.lower(), wanted[0].lower())]
    elif any(name.endswith(".conf") for name in host.list_directory(f"{system}/loader/entries").value or ()):
        return _unknown(directory, "has unified kernel images beside other entries, and the first of them is not known")
    else:
        fitting = list(images)
    if not fitting or len(fitting) > _IMAGES_LIMIT:
        return _unknown(directory, f"has {len(fitting)} unified kernel images that the boot loader may start")
    return _newest(host, system, directory, fitting)


def is_chosen(host: Host) -> bool:
    """True when bootctl(1) chose an entry, which precedes loader.conf(5)."""
    return any(host.status(f"{_VARIABLES}/{name}-{_VENDOR}").value for name in _CHOICES)


def _newest(host: Host, system: str, directory: str, images: Sequence[str]) -> Reading[BootEntry]:
    """The first image in the menu of systemd-boot, which sorts those of one system by version and name."""
    sections = {name: host.read_sections(f"{directory}/{name}") for name in images}
    if unread := next((each for each in sections.values() if each.value is None), None):
        return problem_of(unread)
    systems = {name: _assignments((each.value or {}).get(".osrel", "")) for name, each in sections.items()}
    if len({each.get("IMAGE_ID") or each.get("ID") for each in systems.values()}) > 1:
        return _unknown(directory, "has unified kernel images of several systems")

    def place(name: str) -> tuple[bool, Key, Key]:
        left, key = menu_order(name)
        versions = (systems[name].get(each) for each in ("IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"))
        return left, version_key(next(filter(None, versions), "")), key

    chosen = max(images, key=place)
    return sections[chosen].parse(lambda texts: _entry(texts, _is_extended(host, system, f"{directory}/{chosen}")))


def _entry(texts: dict[str, str], extended: bool) -> BootEntry:
    """Entry of an image; without options where add-ons or profiles change its command line. *Errors*: ValueError."""
    if not texts.get(".uname"):
        raise ValueError("does not tell the release of its kernel (section .uname)")
    known = ".cmdline" in texts and ".profile" not in texts and not extended
    return BootEntry(release=texts[".uname"], options=parse_command_line(texts[".cmdline"]) if known else None)


def _is_extended(host: Host, system: str, image: str) -> bool:
    folders = (f"{system}/loader/addons", f"{image}.extra.d")
    return any(name.endswith(".addon.efi") for each in folders for name in host.list_directory(each).value or ())


def _assignments(text: str) -> dict[str, str]:
    """Variables of os-release(5)."""
    pairs = (line.partition("=") for line in text.split("\n"))
    return {name: value.strip("\"' ") for name, equals, value in pairs if equals}


def _unknown(source: str, problem: str) -> Reading[BootEntry]:
    return Reading.without(source, "not-readable", problem)
