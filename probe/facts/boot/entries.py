"""Entry that systemd-boot starts, of those in files. *Source*: Boot Loader Specification, type 1; loader.conf(5)."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from probe.facts.boot.loader import ENTRY_LIMIT, parse_entry, parse_fields
from probe.facts.boot.model import BootEntry
from probe.facts.boot.unified import CHOSEN, is_chosen
from probe.facts.boot.versions import Key, tries_of, version_key
from probe.host.host import Host
from probe.reading import Reading, problem_of

_FILES = 50
_ARCHITECTURES = {"x86_64": "x64", "aarch64": "aa64", "i686": "ia32", "riscv64": "riscv64"}
"""Name of a machine and the name that entries have for it, as in the names of EFI programs."""
_SAVED, _AUTOMATIC = "@saved", "auto-"
"""Values of `default`: the entry that started last, and what systemd-boot finds without a file, as other systems."""
_LAST_BOOTED = "/sys/firmware/efi/efivars/LoaderEntryLastBooted-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


class _Shown(Struct, frozen=True):
    """One entry of the menu."""

    name: str
    """File name without the counter of tries."""
    bad: bool
    """True when it has used up its tries."""
    fields: dict[str, list[str]]
    text: Reading[str]

    def field(self, name: str) -> str:
        """Value of a key; empty without one."""
        return (self.fields.get(name) or [""])[0]


def gather_entries(host: Host, directory: str) -> Reading[BootEntry]:
    """The first entry of the menu that fits loader.conf; a problem where a variable of the firmware chooses."""
    listed = host.list_directory(directory)
    if listed.value is None:
        return problem_of(listed)
    names = [name for name in listed.value if name.endswith(".conf")]
    if not names:
        return Reading.without(directory, "absent", "has no entry")
    if is_chosen(host):
        return CHOSEN
    loader = host.read_text(f"{os.path.dirname(directory)}/loader.conf", ENTRY_LIMIT)
    if loader.value is None and loader.kind != "absent":
        return problem_of(loader)
    texts = [(name, host.read_text(f"{directory}/{name}", ENTRY_LIMIT)) for name in names[:_FILES]]
    unread = next((text for _, text in texts if text.value is None), None)
    if unread or len(names) > _FILES:
        return problem_of(unread) if unread else Reading.without(directory, "not-readable", "has too many entries")
    menu = _menu([_shown(name, text) for name, text in texts])
    wanted = _wanted(loader.value or "", menu)
    if wanted == _SAVED:
        last = host.read(_LAST_BOOTED, ENTRY_LIMIT)
        if last.value is None and last.kind != "absent":
            return problem_of(last)
        wanted = (last.value or b"")[4:].decode("utf-16-le", "replace").rstrip("\0")
    if wanted.startswith(_AUTOMATIC):
        return Reading.without(loader.source, "not-readable", f"leaves the default to {wanted[:40]!r}")
    chosen = next((one for one in menu if wanted and _fits(one, wanted)), menu[0] if menu else None)
    if chosen is None:
        return Reading.without(directory, "not-readable", "has no entry for this machine")
    return chosen.text.parse(lambda entry: parse_entry(entry, {}))


def _shown(name: str, text: Reading[str]) -> _Shown:
    identity, left = tries_of(name)
    return _Shown(identity, left == 0, parse_fields(text.value or ""), text)


def _menu(entries: Sequence[_Shown]) -> list[_Shown]:
    """Entries for this machine, in the order of the menu."""
    machine = _ARCHITECTURES.get(platform.machine(), "")
    fitting = [one for one in entries if not machine or one.field("architecture").lower() in ("", machine)]

    def newest_first(one: _Shown) -> tuple[Key, Key]:
        return version_key(one.field("version")), version_key(one.name.removesuffix(".conf"))

    def sorted_by_key(one: _Shown) -> tuple[bool, bool, str, str]:
        key = one.field("sort-key")
        return one.bad, not key, key, one.field("machine-id") if key else ""

    sorted_names = sorted(fitting, key=lambda one: version_key(one.name.removesuffix(".conf")), reverse=True)
    keyed = sorted((one for one in sorted_names if one.field("sort-key")), key=newest_first, reverse=True)
    return sorted([*keyed, *(one for one in sorted_names if not one.field("sort-key"))], key=sorted_by_key)


def _wanted(loader: str, menu: Sequence[_Shown]) -> str:
    """Pattern of the default: `preferred` where it fits a good entry, else `default`."""
    found: dict[str, str] = dict(re.findall(r"(?m)^(preferred|default)[ \t]+(\S+)", loader))
    preferred = found.get("preferred", "")
    if preferred.startswith((_SAVED, _AUTOMATIC)) or any(_fits(one, preferred) and not one.bad for one in menu):
        return preferred
    return found.get("default", "")


def _fits(entry: _Shown, wanted: str) -> bool:
    names = (entry.name.lower(), entry.name.lower().removesuffix(".conf"))
    return any(fnmatchcase(name, wanted.lower()) for name in names)
