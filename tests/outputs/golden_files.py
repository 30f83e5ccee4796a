"""What the golden files hold: every report at 80 columns, and some at others, with colour, in full, or as metrics."""

from __future__ import annotations

from pathlib import Path

from lab.reports import PATH_ROWS, REPORTS
from probe import __version__
from probe.outputs.metrics import render_prom
from probe.outputs.terminal import render_paths, render_report

FOLDER = Path(__file__).parent / "golden"


def render_all() -> dict[str, str]:
    """The text of each golden file, by its name."""
    made = {f"{name}.txt": render_report(report, width=80, colour=False) for name, report in REPORTS.items()}
    for name in ("tmpfs-refused", "many-volumes"):
        for width in (60, 120):
            made[f"{name}.{width}.txt"] = render_report(REPORTS[name], width=width, colour=False)
    made["several-handlers.verbose.txt"] = render_report(REPORTS["several-handlers"], width=80, colour=False, verbose=1)
    coloured = render_report(REPORTS["tmpfs-refused"], width=80, colour=True)
    made["tmpfs-refused.colour.txt"] = coloured.replace("\x1b", "<ESC>")
    made["paths.txt"] = render_paths(PATH_ROWS, width=None, colour=False)
    made["paths.60.txt"] = render_paths(PATH_ROWS, width=60, colour=False)
    metrics = render_prom(REPORTS["tmpfs-refused"])
    made["tmpfs-refused.prom"] = metrics.replace(f'build_info{{version="{__version__}"', 'build_info{version="…"')
    return made
