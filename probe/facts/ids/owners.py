"""The owners of IDs in /etc/subuid and /etc/subgid, and the accounts whose own ID is high.

*Source*: subuid(5), subgid(5), passwd(5), group(5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from probe.facts.model import Account, SubIds
from probe.host.host import Host
from probe.reading import Reading

T = TypeVar("T")

_KEEP = 10_000
"""Maximum entries of one file. More ranges are merged first; if still too many, the reading is a problem, never cut."""


def gather_owners(host: Host, root: str, own: set[str]) -> Reading[tuple[SubIds, ...]]:
    """Entries of /etc/subuid and /etc/subgid of owners that are not in *own* (names and numbers)."""
    found: list[SubIds] = []
    for file in ("/etc/subuid", "/etc/subgid"):
        entries = entries_of(host.read(root + file), parse_subids, file)
        if entries.value is None:
            return entries
        others = merge_subids(tuple(each for each in entries.value if each.owner not in own), _KEEP)
        if len(others) > _KEEP:
            return _too_many(file)
        found += others
    return Reading("/etc/subuid, /etc/subgid", tuple(found))


def gather_accounts(host: Host, root: str, passwd: Reading[bytes], lowest: int) -> Reading[tuple[Account, ...]]:
    """Users and groups of the node with an ID of at least *lowest*."""
    found: list[Account] = []
    for file, content in (("/etc/passwd", passwd), ("/etc/group", host.read(f"{root}/etc/group"))):
        entries = entries_of(content, parse_accounts, file)
        if entries.value is None:
            return entries
        high = [each for each in entries.value if each.id >= lowest]
        if len(high) > _KEEP:
            return _too_many(file)
        found += high
    return Reading("/etc/passwd, /etc/group", tuple(found))


def _too_many(file: str) -> Reading[T]:
    return Reading.without(file, "not-readable", f"has more than {_KEEP} entries that could overlap a range")


def parse_accounts(text: str, file: str) -> tuple[Account, ...]:
    """Entries of passwd(5) or group(5) that have an ID; malformed lines are skipped, as libc does."""
    entries = (line.split(":") for line in text.split("\n"))
    return tuple(Account(entry[0], int(entry[2]), file) for entry in entries if len(entry) > 3 and _is_id(entry[2]))


def parse_subids(text: str, file: str) -> tuple[SubIds, ...]:
    """Entries of subuid(5) or subgid(5); malformed lines are skipped."""
    entries = (line.strip().split(":") for line in text.split("\n"))
    return tuple(
        SubIds(entry[0], int(entry[1]), int(entry[2]), file)
        for entry in entries
        if len(entry) == 3 and _is_id(entry[1]) and _is_id(entry[2])
    )


def merge_subids(entries: tuple[SubIds, ...], limit: int) -> tuple[SubIds, ...]:
    """*entries*; if more than *limit*, with adjacent and overlapping ranges merged.

    The union of the IDs stays the same.
    """
    if len(entries) <= limit:
        return entries
    merged: list[SubIds] = []
    owners = 0
    for entry in sorted(entries, key=lambda each: each.first):
        last = merged[-1] if merged else None
        if last is None or entry.first > last.first + last.count:
            merged.append(entry)
            owners = 1
            continue
        owners += 1
        end = max(last.first + last.count, entry.first + entry.count)
        merged[-1] = SubIds(f"{owners} owners", last.first, end - last.first, entry.file)
    return tuple(merged)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def entries_of(
    content: Reading[bytes], parser: Callable[[str, str], tuple[T, ...]], file: str
) -> Reading[tuple[T, ...]]:
    """Result of *parser* on a file of lines; empty if the file does not exist."""
    if content.kind == "absent":
        return Reading(content.source, ())
    return content.parse(lambda data: parser(data.decode(errors="replace"), file))
