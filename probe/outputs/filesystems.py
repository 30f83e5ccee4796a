"""File systems for people, one row each; volumes by driver, with their number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from probe.outputs.text import FEW, STYLES, WORST_FIRST, Cell, Page, Part, mark, shortened
from probe.outputs.view import answer
from probe.report import FilesystemRow, Report, VolumeRow
from probe.tables.filesystems import what_works

_KERNEL_FILESYSTEMS = re.compile("proc|sysfs|cgroup2?|devtmpfs|devpts|mqueue|bpf|configfs|debugfs|tracefs")
_ORDER = (*WORST_FIRST, "pass")
_IN_TREE = "kubernetes.io~"
"""The kubelet's prefix of its own volume plugins."""


def render_paths(rows: Sequence[FilesystemRow], *, width: int | None, colour: bool, verbose: int = 0) -> str:
    """A line per row, `✔ /data  xfs  supported`, then what to do about those that are not; with *verbose* the errno."""
    page = Page(width=width, colour=colour)
    cells: list[Sequence[Cell]] = []
    for row in rows:
        said = answer(row)
        words = f"{said.word}{said.why and ': '}{said.why}"
        if said.call and (verbose or not said.why):
            words += f" ({said.call})"
        cells.append([mark(said.status), row.path or row.role, row.fstype or "-", (words, STYLES[said.status])])
    page.table(cells, indent=0, marked=True)
    _add_ways(page, rows)
    return str(page)


def _add_ways(page: Page, rows: Sequence[FilesystemRow]) -> None:
    """Remediations, each once for all paths that need it, and the mounts below that a Pod would see as nobody's."""
    ways: dict[str, list[str]] = {}
    for row in rows:
        if way := what_to_do(row):
            ways.setdefault(way, []).append(row.path or row.role)
    if not ways:
        return
    page.blank()
    for way, paths in ways.items():
        more = f" and {len(paths) - FEW} more" if len(paths) > FEW else ""
        page.table([[("fix", "dim"), f"{', '.join(paths[:FEW])}{more}: {way}"]], indent=0)
        for row in (row for row in rows if row.below and (row.path or row.role) in paths):
            shown = [*row.below[:FEW]] + ([f"and {row.mounts_below - FEW} more"] if row.mounts_below > FEW else [])
            page.table([[("   ", "dim"), [*shown]]], indent=0)


def what_to_do(row: FilesystemRow) -> str:
    """The remediation for a path that Pods cannot fully use as a volume; empty for all others, and if none is known."""
    if row.usable == "partly" and not row.mounts_below:
        return "chown it, and what lies below, to IDs below 65536; a Pod's fsGroup does so for volumes that it owns"
    if row.usable == "partly":
        return "give each mount below it to the Pod as a volume of its own"
    if row.result == "unknown":
        return "find out why its server does not answer, then ask again" if row.reason.startswith("timed out") else ""
    if row.result == "supported":
        return ""
    if "unbindable" in row.reason:
        return f"mount --make-private {row.path}"
    if _KERNEL_FILESYSTEMS.fullmatch(row.fstype):
        return "set hostUsers: true in the Pods that need it as a volume"
    way = what_works(row.fstype)
    if row.fstype in ("ext2", "ext3"):
        return f"{way}; its type is in /etc/fstab, or fsType of its PersistentVolume"
    return (
        f"{way}{way and '; or '}move the volume to ext4, xfs or btrfs, or set hostUsers: true in the Pods that use it"
    )


def add_filesystems(page: Page, report: Report, verbose: int) -> None:
    """A row each; of volumes only when they are asked for: with *verbose*, or by their paths and no more than a few."""
    rows = report.filesystems
    volumes = [row for row in rows if row.role == "volume"]
    shown = verbose or (len(volumes) <= FEW and all(row.path for row in volumes))
    said: set[str] = set()
    cells = [_single(page, row, verbose, said) for row in rows if shown or row.role != "volume"]
    if not cells:
        return
    usual = "" if report.facts.kubelet_version else "  at the default paths, since no kubelet names others"
    page.heading(("FILE SYSTEMS", "bold"), usual)
    head: list[list[Cell]] = [["", ("role", "dim"), ("type", "dim"), ("result", "dim"), ("path", "dim")]]
    page.table([*(head if not page.narrow else []), *cells], marked=True)


def add_volumes(page: Page, rows: Sequence[VolumeRow], verbose: int) -> None:
    """A row for each driver, file system and answer, the worst first."""
    if not rows:
        return
    page.heading(("VOLUMES", "bold"))
    ordered = sorted(rows, key=lambda row: _ORDER.index(answer(row).status))
    cells = [_kind(page, row) for row in ordered]
    head: list[list[Cell]] = [["", ("driver", "dim"), ("type", "dim"), ("count", "dim"), ("result", "dim")]]
    page.table([*(head if not page.narrow else []), *(cells if verbose else shortened(cells))], marked=True)


def _kind(page: Page, row: VolumeRow) -> list[Cell]:
    said = answer(row)
    driver, fstype = row.driver.removeprefix(_IN_TREE) or "-", row.fstype or "-"
    if page.narrow:
        return [mark(said.status), [f"{driver}  {fstype}  {row.count} {said.word}", *([said.why] if said.why else [])]]
    words = f"{said.word}{said.why and ': '}{said.why}"
    return [mark(said.status), driver, fstype, str(row.count), (words, STYLES[said.status])]


def _single(page: Page, row: FilesystemRow, verbose: int, told: set[str]) -> list[Cell]:
    """Columns, or everything stacked where the terminal is narrow; without a reason that was *told* already."""
    said = answer(row)
    why = f"{said.why} ({said.call})" if said.why and said.call else said.why or said.call
    if why in told:
        why = "same as above"
    told |= {why} - {""}
    details: list[Part] = [text for text in (row.path, why) if text]
    if verbose:
        words = (("driver", row.driver), ("device", row.device), ("last call", row.step))
        details.append((", ".join(f"{name} {text}" for name, text in words if text), "dim"))
    if page.narrow:
        return [mark(said.status), [f"{row.role}  {row.fstype or '-'}  {said.word}", *details]]
    return [mark(said.status), row.role, row.fstype or "-", (said.word, STYLES[said.status]), details]
