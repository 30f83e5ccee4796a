"""File systems for people: one row each, or one for each kind of volume where there are many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from probe.checks.check import Status
from probe.outputs.text import FEW, STYLES, WORST_FIRST, Cell, Page, Part, mark, shortened
from probe.report import FilesystemRow


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
    """A row each; volumes that are many, or come without a path, as one row for each kind and answer."""
    if not rows:
        return
    volumes = [row for row in rows if row.role == "volume"]
    single = verbose or (len(volumes) <= FEW and all(row.path for row in volumes))
    cells = [_single(page, row, verbose) for row in rows if single or row.role != "volume"]
    page.heading(("FILE SYSTEMS", "bold"))
    page.table(cells if single else [*cells, *shortened(_groups(page, volumes))], marked=True)


def _single(page: Page, row: FilesystemRow, verbose: int) -> list[Cell]:
    details: list[Part] = [text for text in (row.path, _why(row)) if text]
    if verbose:
        device = f"device {row.device}" if row.device else ""
        details.append((", ".join(text for text in (device, row.step and f"last call {row.step}") if text), "dim"))
    return _cells(page, row, row.role, details)


def _groups(page: Page, volumes: list[FilesystemRow]) -> list[list[Cell]]:
    groups: dict[tuple[str, str], list[FilesystemRow]] = {}
    for row in volumes:
        groups.setdefault((row.fstype, _state(row)[1]), []).append(row)
    order = (*WORST_FIRST, "pass")
    rows = []
    for group in sorted(groups.values(), key=lambda group: order.index(_state(group[0])[0])):
        reasons = [reason for reason, _ in Counter(_why(row) for row in group).most_common() if reason]
        more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
        label = f"{len(group)} volume{'s' if len(group) > 1 else ''}"
        rows.append(_cells(page, group[0], label, [f"{reasons[0]}{more}"] if reasons else []))
    return rows


def _cells(page: Page, row: FilesystemRow, label: str, details: list[Part]) -> list[Cell]:
    """Columns, or everything stacked where the terminal is narrow."""
    status, state = _state(row)
    if page.narrow:
        return [mark(status), [f"{label}  {row.fstype or '-'}  {state}", *details]]
    return [mark(status), label, row.fstype or "-", (state, STYLES[status]), details]


def _state(row: FilesystemRow) -> tuple[Status, str]:
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
