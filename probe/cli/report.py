"""The verb `report`: one probe of this node, its report and its exit code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from msgspec import Struct

from probe.cli.console import coloured, end, width, write, write_file
from probe.cli.probing import probe_node
from probe.settings import Settings

if TYPE_CHECKING:  # importing it takes a third of the time of `--help`
    from probe.report import Report

_RENDERERS = {
    "text": "probe.outputs.terminal",
    "json": "probe.outputs.documents",
    "yaml": "probe.outputs.documents",
    "prom": "probe.outputs.metrics",
    "nfd": "probe.watch.feature_file",
}
OUTPUTS = tuple(_RENDERERS)
COLOURS = ("auto", "always", "never")
WATCHED = "/run/userns-probe/report.json"
"""The report file of `watch` as its unit and the DaemonSet have it."""
EXIT_CODES = {"ready": 0, "not-ready": 1, "unknown": 2}


class Request(Struct, frozen=True, kw_only=True):
    """The options of one `report`."""

    settings: Settings
    output: str = OUTPUTS[0]
    output_file: str | None = None
    """File that gets the report instead of stdout."""
    verbose: int = 0
    quiet: bool = False
    volume_paths: bool = False
    colour: str = COLOURS[0]


def probe_and_say(request: Request) -> NoReturn:
    """Probe this node, and `say` the report."""
    made = probe_node(
        request.settings,
        quiet=request.quiet,
        volume_paths=request.volume_paths,
        needed_afterwards=needed_afterwards(request),
    )
    say(made, request)


def needed_afterwards(request: Request) -> tuple[str, ...]:
    """Names of the modules that render the report."""
    return () if request.quiet else (_RENDERERS[request.output], "probe.outputs.text")


def say(made: Report, request: Request) -> NoReturn:
    """Write the report and end with the exit code of its verdict. *Errors*: NotWritten."""
    if request.output_file:
        write_file(request.output_file, _rendered(made, request).encode())
    elif not request.quiet:
        write(_rendered(made, request), people=request.output == "text")
    end(EXIT_CODES[made.verdict])


def _rendered(made: Report, request: Request) -> str:
    if request.output == "text":
        from probe.outputs.terminal import render_report

        made = after_watch(made, os.environ.get("USERNS_PROBE_REPORT_FILE", WATCHED))
        return render_report(made, width=width(), colour=coloured(request.colour), verbose=request.verbose)
    if request.output == "prom":
        from probe.outputs.metrics import render_prom

        return render_prom(made)
    from probe.outputs.documents import builtins, render_json, render_yaml

    if request.output == "nfd":
        from probe.watch.feature_file import own_features, render_features

        return render_features(builtins(made), own_features(request.output_file) if request.output_file else "")
    return render_json(made) if request.output == "json" else render_yaml(made)


def after_watch(made: Report, path: str) -> Report:
    """*made* with what the report file of `watch` at *path* knows of earlier verdicts; *made* itself without one."""
    if not os.path.exists(path):
        return made
    from msgspec import ValidationError, convert, to_builtins
    from msgspec.structs import replace

    from probe.report import Previous, VerdictChange
    from probe.watch.report_file import NoReport, history, own_content, parse_report

    try:
        last = parse_report(own_content(path))
        known = history(to_builtins(made), last) if last.get("since") else {}
        kinds = {"since": str, "previous": Previous | None, "changes": tuple[VerdictChange, ...]}
        return replace(made, **{name: convert(value, kinds[name]) for name, value in known.items()})
    except (NoReport, ValidationError):
        return made
