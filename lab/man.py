"""Manual pages of the command and its verbs, from the text that --help prints."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click_man.core import generate_man_page

from lab.readme import DOCS
from probe import __version__
from probe.cli.verbs import cli

FOLDER = DOCS / "man"
DATE = "2026-11"
"""Month of the release, in the footer; today's date would make each page another one tomorrow."""


def pages() -> Iterator[tuple[str, str]]:
    """Name and text of each page: `userns-probe.1`, then one for each verb."""
    root = click.Context(cli, info_name="userns-probe")
    verbs = {name: verb for name, verb in cli.commands.items() if not verb.hidden}
    shorts = {verb: verb.short_help for verb in (cli, *verbs.values())}
    try:
        for verb in shorts:
            verb.short_help = (verb.help or "").strip().split("\n\n")[0].replace("\n", " ")  # not cut at 45 characters
        yield "userns-probe.1", generate_man_page(root, version=__version__, date=DATE)
        for name, verb in verbs.items():
            context = click.Context(verb, info_name=name, parent=root)
            yield f"userns-probe-{name}.1", generate_man_page(context, version=__version__, date=DATE)
    finally:
        for verb, short in shorts.items():
            verb.short_help = short
