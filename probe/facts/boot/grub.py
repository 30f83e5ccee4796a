"""GRUB: its menu, its environment block, and the entries of the Boot Loader Specification that it shows."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from msgspec import Struct, field

from probe.facts.boot.command_line import parse_command_line
from probe.facts.boot.loader import ENTRIES, ENTRY_LIMIT, GRUB, VARIABLE, expand, parse_entry, release_of
from probe.facts.boot.model import BootEntry
from probe.facts.boot.versions import menu_order
from probe.host.host import Host
from probe.reading import Reading, problem_of

_LIMIT = 1 << 20
_MENU_LIMIT = 500
_BLOCK = r"^\s*(menuentry|submenu)\s+(?:'([^'\n]*)'|\"([^\"\n]*)\"|(\S+))(.*)\{\s*$"
_ID = r"(?:\$\{?menuentry_id_option\}?|--id)\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))"
_LINUX = r"^\s*linux(?:16|efi)?\s+(\S+)[ \t]*(.*)$"
_SET = r"(?:^|;|\bthen)\s*set\s+(\w+)=(?:\"([^\"\n]*)\"|'([^'\n]*)'|([^\s;]*))"
_OPEN = frozenset(("if", "while", "until", "for", "function", "menuentry", "submenu"))
_CLOSE = frozenset(("fi", "done", "}"))
"""Words that open and close a block. *Source*: GRUB manual, shell-like scripting."""
_SETTINGS = 2000
_LONGEST = 4096
_FEW = 20  # defaults that conditions choose among
_LOADED = r"\bload_env\s+(?:-f|--file)[ \t=]*(\S+)"
_GRUBENV = "# GRUB Environment Block\n"


class Setting(Struct, frozen=True):
    """An assignment to a variable."""

    name: str
    value: str
    conditional: bool
    """True inside of a block, such as `if`."""


class MenuEntry(Struct):
    """An entry or a submenu of GRUB."""

    title: str
    identity: str = ""
    image: str = ""
    arguments: str = ""
    entries: list[MenuEntry] = field(default_factory=list)


def gather_grub(host: Host, directory: str, menu: Reading[str]) -> Reading[BootEntry]:
    """The default of *menu*, the grub.cfg in *directory*."""
    environment = _grub_environment(host, directory)
    if environment.value is None:
        return problem_of(environment)
    variables = environment.value
    text = menu.value or ""
    if "custom.cfg" in text:
        custom = host.read_text(f"{directory}/custom.cfg", _LIMIT)
        if custom.value is None and custom.kind != "absent":
            return problem_of(custom)
        if re.search(r"\bset\s+default=", custom.value or ""):
            return Reading.without(custom.source, "not-readable", "may choose another entry, which is not followed")
    if re.search(r"^[ \t]*blscfg\b", text, re.MULTILINE):
        return gather_entries(host, ENTRIES[0], Reading(environment.source, assigned(settings(text), variables)))
    return menu.parse(lambda found: parse_grub(found, variables))


def parse_grub(text: str, variables: dict[str, str]) -> BootEntry:
    """The default entry of grub.cfg; *variables* are those of grubenv.

    *Errors*: ValueError where no entry, a condition or something else than Linux is the default.
    """
    own = settings(text)
    menu, wanted = parse_menu(text), _default(own, variables)
    found = _find(menu, wanted)
    if found is None or not found.image:
        raise ValueError(f"no entry {wanted[:80]!r} with a Linux kernel")
    known = assigned(own, variables)
    elsewhere = set(VARIABLE.findall(found.arguments)) - known.keys() and _loads_another(text)
    options = None if elsewhere else parse_command_line(expand(found.arguments, known))
    return BootEntry(release=release_of(expand(found.image, known)), options=options)


def _loads_another(text: str) -> bool:
    """True when grub.cfg takes variables from another file than grubenv, as that of Photon OS."""
    return any("grubenv" not in path and "env_block" not in path for path in re.findall(_LOADED, text))


def settings(text: str) -> tuple[Setting, ...]:
    """Assignments of grub.cfg, in their order."""
    found: list[Setting] = []
    depth = 0
    for line in text.split("\n"):
        words = line.split(maxsplit=1)
        if not words:
            continue
        opens = words[0] in _OPEN
        depth += opens
        if "set" in line:
            found += [Setting(name, _one(values), depth > 0) for name, *values in re.findall(_SET, line[:_LONGEST])]
        if words[0].rstrip(";") in _CLOSE or (opens and line.replace(";", " ").split()[-1] in _CLOSE):
            depth = max(depth - 1, 0)
    return tuple(found[:_SETTINGS])


def assigned(found: Sequence[Setting], variables: dict[str, str]) -> dict[str, str]:
    """*variables* of grubenv with those of grub.cfg, of which one in a condition sets only what is not set yet."""
    known = dict(variables)
    for one in found:
        if one.name != "default" and not (one.conditional and known.get(one.name)):
            known[one.name] = expand(one.value, known)
    return known


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


def _default(found: Sequence[Setting], variables: dict[str, str]) -> str:
    """Default of the menu: a number, a title or an identity; in a submenu `A>B`. *Errors*: ValueError."""
    if "env_block" in variables:
        raise ValueError("keeps its choice outside of any file (env_block)")
    if variables.get("initrdfail") == "1" and variables.get("prev_entry"):
        return variables["prev_entry"]
    if variables.get("next_entry"):
        return variables["next_entry"]
    chosen: list[str] = []
    for one in found:
        if one.name == "default" and "next_entry" not in one.value:
            chosen = [*(chosen[-_FEW:] if one.conditional else ()), one.value]
    saved = {"saved_entry": variables["prev_saved_entry"]} if variables.get("prev_saved_entry") else {}
    wanted = {expand(value, variables | saved) or "0" for value in chosen} or {"0"}
    if len(wanted) > 1:
        raise ValueError("chooses its entry by a condition")
    return wanted.pop()


def _find(menu: Sequence[MenuEntry], wanted: str) -> MenuEntry | None:
    """The entry *wanted*; GRUB starts the first one of a menu that has it not."""
    first, _, rest = wanted.partition(">")
    if first.isdecimal():
        found = menu[int(first)] if len(first) < 4 and int(first) < len(menu) else None
    else:
        found = next((entry for entry in menu if first and first in (entry.identity, entry.title)), None)
    if found is None:
        found, rest = (menu[0] if menu else None), ""
    return _find(found.entries, rest or "0") if found and found.entries else found


def _grub_environment(host: Host, directory: str) -> Reading[dict[str, str]]:
    """Variables of grubenv, empty without one. *Source*: GRUB manual, environment block."""
    text = host.read_text(f"{directory}/grubenv", ENTRY_LIMIT)
    return Reading(text.source, {}) if text.kind == "absent" else text.parse(parse_environment)


def parse_environment(text: str) -> dict[str, str]:
    """Variables of an environment block. *Errors*: ValueError for a file that GRUB refuses."""
    if text and not text.startswith(_GRUBENV):
        raise ValueError("is no environment block")
    pairs = (line.partition("=") for line in text.split("\n") if not line.startswith("#"))
    return {name: value.strip() for name, equals, value in pairs if equals}


def environment_elsewhere(host: Host) -> Reading[dict[str, str]]:
    """Variables of a GRUB whose grub.cfg lies on the EFI system partition, as in RHEL 8; empty without one."""
    found = (_grub_environment(host, os.path.dirname(path)) for path in GRUB)
    return next((each for each in found if each.value is None or each.value), Reading("grubenv", {}))


def gather_entries(host: Host, directory: str, variables: Reading[dict[str, str]]) -> Reading[BootEntry]:
    """The default of the entries in *directory* by *variables*. *Source*: Boot Loader Specification, type 1."""
    listed = host.list_directory(directory)
    if listed.value is None:
        return problem_of(listed)
    if variables.value is None:
        return problem_of(variables)
    names = [name for name in listed.value if name.endswith(".conf")]
    if not names:
        return Reading.without(directory, "absent", "has no entry")
    known = variables.value
    if "env_block" in known:
        return Reading.without(variables.source, "not-readable", "keeps its choice outside of any file (env_block)")
    wanted = known.get("next_entry") or known.get("saved_entry") or ""
    if known.get("boot_counter") in ("0", "-1") and known.get("boot_success") == "0":
        wanted = "1"  # the entry before, after too many failures. *Source*: Fedora, 08_fallback_counting
    ordered = sorted(names, key=menu_order, reverse=True)
    usual = [name for name in ordered if "-rescue" not in name] or ordered
    chosen = next((name for name in ordered if wanted and wanted in (name, name.removesuffix(".conf"))), None)
    if chosen is None and wanted.isdecimal():
        chosen = ordered[int(wanted)] if len(wanted) < 4 and int(wanted) < len(ordered) else None
    text = host.read_text(f"{directory}/{chosen or usual[0]}", ENTRY_LIMIT)
    return text.parse(lambda entry: parse_entry(entry, known))


def _one(groups: Sequence[str | None]) -> str:
    return next((each for each in groups if each), "")
