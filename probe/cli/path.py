"""The verb `path`: can Pods use volumes on these paths?"""

from __future__ import annotations

import os
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
    help="text for people; json and yaml are a list of rows, as in `filesystems` of the report.",
)
@click.option("-v", "--verbose", count=True, help="Show the system call that decided, and its errno.")
@probing_options
@colour_option
def path(paths: tuple[str, ...], output: str, verbose: int, proc: str, budget: timedelta, colour: str) -> int:
    """Can Pods with a user namespace use volumes on these paths?

    `..` after a symlink is resolved as the kernel does. A path that does not exist is unknown, and so is an automount
    that is not mounted: the probe mounts nothing.

    \b
    Exit codes, of the worst path:
      0 supported, also read-only or in part (mounts below appear as nobody's)   1 refused   2 unknown

    \b
    Examples:
      userns-probe path /srv/data
      userns-probe path -v /mnt/*
      userns-probe path /srv /mnt/nfs -o json
    """
    from probe.facts.paths import gather_paths
    from probe.make_report import filesystem_row

    settings = settings_of(proc=proc, budget=budget)
    with Progress(budget):
        attempts = gather_paths(settings, [_absolute(one) for one in paths])
    rows = [filesystem_row(attempt) for attempt in attempts]
    if output == "text":
        from probe.outputs.filesystems import render_paths

        text = render_paths(rows, width=width(), colour=coloured(colour), verbose=verbose)
    else:
        from probe.outputs.documents import render_json, render_yaml

        text = render_json(rows) if output == "json" else render_yaml(rows)
    write(text, people=output == "text")
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
