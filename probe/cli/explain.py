"""The verb `explain`: the question of a check, why it matters, and the fix."""

from __future__ import annotations

from collections.abc import Sequence

import click

from probe.cli.console import coloured, width, write
from probe.cli.options import colour_option


def _checks(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from probe.checks.catalog import CHECKS

    return [check.id for check in CHECKS if check.id.startswith(incomplete)]


def _platforms(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from probe.checks.remedies.platforms import PLATFORMS

    return [name for name in PLATFORMS if name.startswith(incomplete)]


@click.command()
@click.argument("check", required=False, shell_complete=_checks)
@click.option(
    "--for",
    "platform",
    metavar="PLATFORM",
    shell_complete=_platforms,
    help="Show the fix for talos, k3s, ... (CHECK lists them).",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="text for people, json for machines.",
)
@colour_option
def explain(check: str | None, platform: str | None, output: str, colour: str) -> int:
    """Explain a check: its question, why it matters, and the fix. Without CHECK: list all checks.

    \b
    Examples:
      userns-probe explain
      userns-probe explain filesystem-tmpfs
      userns-probe explain kernel-user-namespaces --for talos
    """
    from probe.checks.catalog import CHECKS, find
    from probe.checks.remedies.platforms import PLATFORMS
    from probe.outputs.explain import render_catalog, render_check, render_checks_json

    chosen = find(check) if check else None
    if check and chosen is None:
        raise click.UsageError(f"no check is called {check!r}: {_meant(check, [each.id for each in CHECKS])}")
    if platform and (chosen is None or platform not in PLATFORMS):
        raise click.UsageError(f"--for needs a CHECK and one of {', '.join(PLATFORMS)}")
    if output == "json":
        write(render_checks_json((chosen,) if chosen else CHECKS), people=False)
    elif chosen:
        write(render_check(chosen, width=width(), colour=coloured(colour), platform=platform or ""))
    else:
        write(render_catalog(CHECKS, width=width(), colour=coloured(colour)))
    return 0


def _meant(word: str, names: Sequence[str]) -> str:
    """The names that *word* is a part of or is similar to, as a question; else how to see all of them."""
    import difflib  # only for what went wrong

    similar = [name for name in names if word and word.lower() in name]
    similar = similar or difflib.get_close_matches(word.lower(), names, 3)
    return f"did you mean {' or '.join(similar[:3])}?" if similar else "`userns-probe explain` lists them all"
