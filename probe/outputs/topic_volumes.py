"""The table of volumes: drivers, file systems and FUSE servers, for people and machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from probe.outputs.text import STYLES, Cell, Page, Part, mark
from probe.tables.csi import CSI
from probe.tables.driver import NOT_TRIED, Driver
from probe.tables.drivers import IN_TREE, PROVISIONERS, SUFFIXES
from probe.tables.filesystems import (
    FUSE_SINCE,
    KNOWN_TO,
    NEVER,
    OUT_OF_TREE,
    READS_ONLY,
    SINCE,
    Taken,
    Verdict,
    what_works,
)
from probe.tables.servers import SERVERS
from probe.tables.version import spelled
from probe.terms import Status

_STATUS: dict[Taken, Status] = {"yes": "pass", "no": "fail", "unknown": "unknown"}
_WORDS: dict[Taken, str] = {"yes": "supported", "no": "refused", "unknown": "unknown"}
_KINDS = (("CSI drivers", CSI), ("volume types of Kubernetes", IN_TREE), ("other provisioners", PROVISIONERS))


def write_volumes(page: Page, release: str) -> None:
    """Drivers by what of theirs reaches a node; then file systems by kernel, and FUSE servers."""
    page.line(f"For Linux {release}, {NOT_TRIED}: userns-probe and userns-probe path try it.", indent=2)
    for title, table in _KINDS:
        page.heading((title.upper(), "bold"))
        for driver, names in _alike(table):
            _write_alike(page, driver, names, release)
    page.heading(("FILE SYSTEMS, BY KERNEL", "bold"))
    rows: list[list[Cell]] = [
        [name, f"since Linux {spelled(since)}", READS_ONLY.get(name, "")] for name, since in SINCE.items()
    ]
    rows += [["fuse, virtiofs", f"since Linux {spelled(FUSE_SINCE)}", "if the server offers FUSE_ALLOW_IDMAP"]]
    rows += [[name, "by its module", words] for name, words in OUT_OF_TREE.items()]
    rows += [[name, f"never up to {spelled(KNOWN_TO)}", _instead(name)] for name in sorted(NEVER)]
    page.table(rows)
    page.heading(("FUSE SERVERS, BY FUSE_ALLOW_IDMAP", "bold"))
    page.table([[name, one.words, (one.source, "dim")] for name, one in SERVERS.items()])


def _instead(name: str) -> str:
    return what_works(name) if name in ("ext2", "ext3") else ""


def _write_alike(page: Page, driver: Driver, names: dict[str, str], release: str) -> None:
    status = _STATUS[driver.judge(release).taken]
    answers = _answers(driver, release)
    said: list[Part] = [(f"{mode}{_WORDS[one.taken]}: {one.why}", STYLES[_STATUS[one.taken]]) for mode, one in answers]
    hint: list[Part] = [driver.hint] if driver.hint else []
    page.table([[mark(status), [(driver.reaches(), "bold"), *said, *hint]]], marked=True)
    by_source: dict[str, list[str]] = {}
    for name, source in names.items():
        by_source.setdefault(source, []).append(name)
    for source, own in by_source.items():
        page.line(", ".join(own), (f"  [{source}]", "dim"), indent=6)


def _answers(driver: Driver, release: str) -> list[tuple[str, Verdict]]:
    """One answer, or one for each access mode where they differ."""
    if not driver.shared:
        return [("", driver.judge(release))]
    modes = (("ReadWriteOnce: ", False), ("ReadWriteMany: ", True))
    return [(mode, driver.judge(release, shared=shared)) for mode, shared in modes]


def _alike(table: dict[str, Driver]) -> Iterator[tuple[Driver, dict[str, str]]]:
    """Rows that say the same, with the source of each name."""
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for name, driver in table.items():
        groups.setdefault((driver.reaches(), driver.hint), {})[name] = driver.source
    for names in groups.values():
        yield table[next(iter(names))], names


def volume_document(release: str) -> dict[str, Any]:
    """The same for machines, a row for each driver, file system and server."""
    return {
        "kernel_release": release,
        "basis": NOT_TRIED,
        "drivers": [
            _driver(kind, name, driver, release)
            for kind, (_, table) in zip(("csi", "in-tree", "provisioner"), _KINDS, strict=True)
            for name, driver in table.items()
        ],
        "name_suffixes": {f"*{end}": name for end, name in SUFFIXES.items()},
        "filesystems": [
            *({"fstype": name, "since": spelled(since)} for name, since in SINCE.items()),
            *({"fstype": name, "since": None, "never_to": spelled(KNOWN_TO)} for name in sorted(NEVER)),
        ],
        "servers": [
            {"server": name, "offers": one.offers, "words": one.words, "source": one.source}
            for name, one in SERVERS.items()
        ],
    }


def _driver(kind: str, name: str, driver: Driver, release: str) -> dict[str, Any]:
    found, shared = driver.judge(release, shared=False), driver.judge(release, shared=True)
    return {
        "kind": kind,
        "name": name,
        "reaches": driver.reaches(),
        "filesystems": list(driver.kinds("", False)),
        "shared_filesystems": list(driver.kinds("", True)),
        "server": driver.server,
        "result": _WORDS[found.taken],
        "why": found.why,
        "shared_result": _WORDS[shared.taken],
        "shared_why": shared.why,
        "hint": driver.hint,
        "source": driver.source,
    }
