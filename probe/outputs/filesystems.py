"""File systems for people, one row each; volumes by what mounts them, and how many there are of each kind."""

from __future__ import annotations

from collections.abc import Sequence

from probe.checks.check import Status
from probe.outputs.text import FEW, STYLES, WORST_FIRST, Cell, Page, Part, mark, shortened
from probe.report import FilesystemRow, VolumeRow

_ORDER = (*WORST_FIRST, "pass")
_IN_TREE = "kubernetes.io~"
"""What the kubelet puts before the names of its own volume plugins."""


def render_paths(rows: Sequence[FilesystemRow], *, width: int | None, colour: bool) -> str:
    """One line per row: `✔ /data  xfs  supported`; wrapped at *width*, or never, so that a pipe gets whole lines."""
    page = Page(width=width, colour=colour)
    cells: list[Sequence[Cell]] = []
    for row in rows:
        status, state = _state(row)
        why = _why(row)
        answer = f"{'supported, ' if state == 'read-only' else ''}{state}{why and ': '}{why}"
        cells.append([mark(status), row.path or row.role, row.fstype or "-", (answer, STYLES[status])])
    page.table(cells, indent=0, marked=True)
    return str(page)


def add_filesystems(page: Page, rows: Sequence[FilesystemRow], verbose: int) -> None:
    """A row each; of volumes only when they are asked for: with *verbose*, or by their paths and no more than a few."""
    volumes = [row for row in rows if row.role == "volume"]
    shown = verbose or (len(volumes) <= FEW and all(row.path for row in volumes))
    cells = [_single(page, row, verbose) for row in rows if shown or row.role != "volume"]
    if cells:
        page.heading(("FILE SYSTEMS", "bold"))
        page.table(cells, marked=True)


def add_volumes(page: Page, rows: Sequence[VolumeRow], verbose: int) -> None:
    """A row for each driver, file system and answer, the worst news first."""
    if not rows:
        return
    page.heading(("VOLUMES", "bold"))
    ordered = sorted(rows, key=lambda row: _ORDER.index(_state(row)[0]))
    cells = [_kind(page, row) for row in ordered]
    head: list[list[Cell]] = [["", ("driver", "dim"), ("file system", "dim"), ("count", "dim"), ("result", "dim")]]
    page.table([*(head if not page.narrow else []), *(cells if verbose else shortened(cells))], marked=True)


def _kind(page: Page, row: VolumeRow) -> list[Cell]:
    status, state = _state(row)
    driver, fstype = row.driver.removeprefix(_IN_TREE) or "-", row.fstype or "-"
    why = row.reason or ("further mounts below show up as nobody's" if state == "partly" else "")
    if page.narrow:
        return [mark(status), [f"{driver}  {fstype}  {row.count} {state}", *([why] if why else [])]]
    return [mark(status), driver, fstype, str(row.count), (f"{state}{why and ': '}{why}", STYLES[status])]


def _single(page: Page, row: FilesystemRow, verbose: int) -> list[Cell]:
    """Columns, or everything stacked where the terminal is narrow."""
    status, state = _state(row)
    details: list[Part] = [text for text in (row.path, _why(row)) if text]
    if verbose:
        device = f"device {row.device}" if row.device else ""
        details.append((", ".join(text for text in (device, row.step and f"last call {row.step}") if text), "dim"))
    if page.narrow:
        return [mark(status), [f"{row.role}  {row.fstype or '-'}  {state}", *details]]
    return [mark(status), row.role, row.fstype or "-", (state, STYLES[status]), details]


def _state(row: FilesystemRow | VolumeRow) -> tuple[Status, str]:
    """How good the answer is, and the one word for it."""
    if row.result == "refused":
        return "fail", "refused"
    if row.result == "unknown":
        return "unknown", "unknown"
    states: dict[str, tuple[Status, str]] = {
        "read-only": ("pass", "read-only"),
        "partly": ("warn", "partly"),
        "no": ("fail", "not usable"),
    }
    return states.get(row.usable or "", ("pass", "supported"))


def _why(row: FilesystemRow) -> str:
    """The reason with the call that gave it, or what is only partly usable; empty when there is nothing to say."""
    if row.usable == "partly" and not row.reason:
        mounts = "1 mount below shows" if row.mounts_below == 1 else f"{row.mounts_below} mounts below show"
        return f"{mounts} up as nobody"
    call = f"{row.errno} from {row.step}" if row.errno and row.step else row.errno
    if not row.reason:
        return call
    return f"{row.reason} ({call})" if call else row.reason
