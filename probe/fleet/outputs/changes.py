"""The difference between two inventories for people."""

from __future__ import annotations

from probe.fleet.diff import Change, Diff
from probe.outputs.text import Cell, Page, mark, shortened


def render_changes(found: Diff, *, width: int | None, colour: bool, verbose: int = 0) -> str:
    """All changes, the worse ones first; without *verbose* the first ones of each kind."""
    page = Page(width=width, colour=colour, limit=300)
    page.line((f"{found.cluster_after or 'cluster'}: {found.taken_before} → {found.taken_after}", "bold"), indent=2)
    if found.cluster_before != found.cluster_after:
        page.line(f"The older inventory is of another cluster: {found.cluster_before}", indent=2)
    for line in found.not_compared:
        page.line(f"not compared: {line}", indent=2)
    for title, worse in (("WORSE", True), ("OTHER CHANGES", False)):
        rows = [_row(one) for one in found.changes if one.worse == worse]
        if rows:
            page.heading((f"{title}: {len(rows)}", "bold"))
            page.table(rows if verbose else shortened(rows), marked=True)
    if not found.changes:
        page.line("nothing changed", indent=2)
    return str(page)


def _row(one: Change) -> list[Cell]:
    words = one.what if not one.field else f"{one.field}: {one.before or '(none)'} → {one.after or '(none)'}"
    return [mark("fail" if one.worse else "skipped"), f"{one.of} {one.name}", words]
