"""The verbs, and what their exit codes mean.

0 ready, 1 not ready, 2 unknown: these come from a verdict only. 64 usage, 70 unforeseen, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import click

from probe import __version__
from probe.cli.agent import prune, serve, watch
from probe.cli.console import NotWritten, Progress, coloured, complain, discard, width, write
from probe.cli.options import (
    colour_option,
    interval_option,
    node_name_option,
    probing_options,
    settings_of,
    try_runtime_option,
    volume_paths_option,
)

EXIT_CODES = {"ready": 0, "not-ready": 1, "unknown": 2}
USAGE = 64
"""EX_USAGE of sysexits.h(3head)."""
UNFORESEEN = 70
"""EX_SOFTWARE."""


class Verbs(click.Group):
    """Without a verb it is `report`, so that its options can be given right away."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `report` in front of options that are not the group's own."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help", "--version")):
            args = ["report", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="userns-probe")
def cli() -> None:
    """Do Pods with `hostUsers: false` run on this node, and if not, what stands in the way?

    Without a verb it makes a report of this node. It needs root on the node, changes nothing and leaves nothing.

    \b
    Examples:
      userns-probe                       probe this node, print a report for people
      userns-probe -v                    the same with all evidence
      userns-probe -o json               the same for machines
      userns-probe path /srv /mnt/nfs    will volumes on these paths work?
      userns-probe explain               what is checked, and why
      userns-probe watch | serve         the two halves of the DaemonSet
      userns-probe prune                 take back what was published to Nodes

    \b
    Exit codes:
      0 ready   1 not ready   2 unknown   64 usage   70 unforeseen   130 Ctrl-C   143 SIGTERM
    """


@cli.command()
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml", "prom"]),
    default="text",
    show_default=True,
    envvar="USERNS_PROBE_OUTPUT",
    help="text is for people; json and yaml follow docs/report.schema.json; prom is for Prometheus.",
)
@click.option("-v", "--verbose", count=True, help="Show passed checks and all evidence, too.")
@volume_paths_option
@node_name_option
@interval_option
@try_runtime_option
@probing_options
@colour_option
def report(
    output: str,
    verbose: int,
    volume_paths: bool,
    node_name: str | None,
    interval: timedelta,
    try_runtime: bool,
    proc: str,
    budget: timedelta,
    colour: str,
) -> int:
    """Probe this node and print the report.

    \b
    Examples:
      userns-probe report
      userns-probe report -o json | jq .verdict
      userns-probe report || echo "do not schedule hostUsers: false here"
    """
    from probe.facts.runtime.cri import start_cri

    settings = settings_of(
        node_name=node_name or None,
        proc=proc,
        budget=budget,
        interval=interval,
        volume_paths=volume_paths,
        try_runtime=try_runtime,
    )
    probed_at, uptime, began = datetime.now(UTC), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
    with Progress(budget), start_cri(settings) as cri:
        from probe.facts.gather import gather_facts  # while that process imports, too
        from probe.report import make_report

        facts = gather_facts(settings, cri)
    made = make_report(
        facts,
        agent_version=__version__,
        probed_at=_rfc3339(probed_at),
        expires_at=_rfc3339(probed_at + 3 * interval),
        duration_seconds=round(time.monotonic() - began, 3),
        uptime_seconds=round(uptime, 3),
        volume_paths=volume_paths,
    )
    if output == "text":
        from probe.outputs.terminal import render_report

        text = render_report(made, width=width(), colour=coloured(colour), verbose=verbose)
    elif output == "prom":
        from probe.outputs.metrics import render_prom

        text = render_prom(made)
    else:
        from probe.outputs.documents import render_json, render_yaml

        text = render_json(made) if output == "json" else render_yaml(made)
    write(text)
    return EXIT_CODES[made.verdict]


@cli.command()
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


@cli.command()
@click.argument("check", required=False, shell_complete=lambda *_: _check_ids())
@click.option("--for", "platform", metavar="PLATFORM", help="What to do there: talos, k3s, ... (CHECK lists them).")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json is for machines.",
)
@colour_option
def explain(check: str | None, platform: str | None, output: str, colour: str) -> int:
    """What a check asks, why, and how to fix it; without CHECK, all of them.

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
        raise click.UsageError(f"no check is called {check!r}; `userns-probe explain` lists them all")
    if platform and (chosen is None or platform not in PLATFORMS):
        raise click.UsageError(f"--for needs a CHECK and one of {', '.join(PLATFORMS)}")
    if output == "json":
        write(render_checks_json((chosen,) if chosen else CHECKS))
    elif chosen:
        write(render_check(chosen, width=width(), colour=coloured(colour), platform=platform or ""))
    else:
        write(render_catalog(CHECKS, width=width(), colour=coloured(colour)))
    return 0


cli.add_command(watch)
cli.add_command(serve)
cli.add_command(prune)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; every way it can end has its exit code."""
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # a shell ignores it for what it starts in the background
        signal.signal(signal.SIGINT, _end)
    try:
        code = cli.main(arguments, prog_name="userns-probe", standalone_mode=False)
    except click.exceptions.Exit as ending:
        code = ending.exit_code
    except click.ClickException as error:
        words = io.StringIO()
        error.show(words)
        complain(words.getvalue())
        code = USAGE
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except NotWritten as error:
        discard(sys.stdout)
        complain(f"userns-probe: cannot write to stdout: {error}\n")
        code = UNFORESEEN
    except Exception as error:  # the outermost: whatever it is, it must not look like a verdict
        if os.environ.get("USERNS_PROBE_DEBUG"):
            raise
        discard(sys.stdout)
        complain(f"userns-probe: internal error: {type(error).__name__}: {error}; USERNS_PROBE_DEBUG=1 shows where\n")
        code = UNFORESEEN
    sys.exit(code or 0)


def _end(number: int, _frame: object) -> NoReturn:
    """Not by KeyboardInterrupt: once that went through exec(), as dataclasses call it, Python ends by the signal."""
    sys.exit(128 + number)


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _check_ids() -> list[str]:
    from probe.checks.catalog import CHECKS

    return [check.id for check in CHECKS]


if __name__ == "__main__":
    main()
