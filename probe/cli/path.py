"""The verb `path`: will volumes on these paths work?"""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import click

from probe.cli.console import Progress, coloured, width, write
from probe.cli.options import colour_option, probing_options, settings_of


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml"]),
    default="text",
    show_default=True,
    help="json and yaml are a list of rows as in the report.",
)
@probing_options
@colour_option
def path(paths: tuple[str, ...], output: str, proc: str, budget: timedelta, colour: str) -> int:
    """Will volumes on these paths work in Pods with a user namespace?

    `..` behind a symlink is where the kernel finds it. A path that does not exist is unknown, and so is an automount
    that is not mounted: nothing is mounted by looking.

    \b
    Exit codes, of the worst path:
      0 supported, also read-only or partly (mounts below show up as nobody's)   1 refused   2 unknown

    \b
    Examples:
      userns-probe path /srv/data
      userns-probe path /mnt/* -o json
    """
    from probe.facts.paths import gather_paths
    from probe.report import filesystem_row

    settings = settings_of(proc=proc, budget=budget)
    with Progress(budget):
        attempts = gather_paths(settings, [_absolute(one) for one in paths])
    rows = [filesystem_row(attempt) for attempt in attempts]
    if output == "text":
        from probe.outputs.filesystems import render_paths

        text = render_paths(rows, width=width() if sys.stdout.isatty() else None, colour=coloured(colour))
    else:
        from probe.outputs.documents import render_json, render_yaml

        text = render_json(rows) if output == "json" else render_yaml(rows)
    write(text)
    results = {row.result for row in rows}
    return 1 if "refused" in results else 2 if "unknown" in results else 0


def _absolute(path: str) -> str:
    """*path* from the root directory on, with every `..` that it has. *Errors*: UsageError where it leads nowhere."""
    if not path:
        raise click.UsageError("PATH is empty: name a file or directory, or . for the current directory")
    try:
        return os.path.join(os.getcwd(), path)
    except FileNotFoundError as error:
        if path.startswith("/"):
            return path
        raise click.UsageError(f"PATH {path!r} is relative, and the current directory was removed") from error
