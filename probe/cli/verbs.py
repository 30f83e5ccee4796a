"""The command: its verbs, `report` among them, and their exit codes.

`report`: 0 ready, 1 not ready, 2 unknown. Every verb: 64 usage, 70 a bug, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import io
import signal
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

import click
from click.shell_completion import CompletionItem

from probe import __version__
from probe.cli.agent import prune, serve, watch
from probe.cli.bundle import bundle
from probe.cli.console import (
    UNFORESEEN,
    USAGE,
    NotWritten,
    coloured,
    complain,
    complain_of_bug,
    discard,
    end,
    width,
    write,
    write_file,
)
from probe.cli.explain import explain
from probe.cli.options import (
    colour_option,
    interval_option,
    node_name_option,
    probing_options,
    settings_of,
    try_pod_option,
    try_runtime_option,
    volume_paths_option,
)
from probe.cli.path import path
from probe.cli.pod import pod
from probe.cli.probing import probe_node

if TYPE_CHECKING:  # importing it takes a third of the time of `--help`
    from probe.report import Report

EXIT_CODES = {"ready": 0, "not-ready": 1, "unknown": 2}


class Verbs(click.Group):
    """Without a verb it is `report`, so that its options can be given right away."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `report` in front of options that are not the group's own; a shell that completes a verb has none yet."""
        own = args[0] in ("-h", "--help", "--version") if args else ctx.resilient_parsing
        if not own and (not args or args[0].startswith("-")):
            args = ["report", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs that *incomplete* begins, and the options of `report`, which needs no verb."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            known = {item.value for item in found}
            short = self.commands["report"]
            with short.make_context("report", [], parent=ctx, resilient_parsing=True) as inner:
                found += [item for item in short.shell_complete(inner, incomplete) if item.value not in known]
        return found


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="userns-probe")
def cli() -> None:
    """Do Pods with `hostUsers: false` run on this node? If not, why, and what is the fix?

    Without a verb it probes this node and prints a report. It needs root on the node, and leaves the node unchanged.

    \b
    Examples:
      userns-probe                       probe this node, print a report for people
      userns-probe -v                    the same with all evidence
      userns-probe -o json               the same for machines
      userns-probe path /srv /mnt/nfs    can Pods use volumes on these paths?
      userns-probe pod deployment.yaml   will these Pods run here?
      userns-probe explain               list the checks
      userns-probe explain nested        what runs inside a Pod: buildah, dockerd, podman, ...
      userns-probe watch | serve         the two containers of the DaemonSet
      userns-probe prune                 remove from Nodes what was published
      userns-probe bundle node.tar.gz    all that a probe read, for a bug report

    \b
    Exit codes:
      0 ready   1 not ready   2 unknown   64 usage   69 Python is too old   70 bug   130 Ctrl-C   143 SIGTERM
      path: 0 supported   1 refused   2 unknown      prune: 0 nothing is left   1 something is
      pod:  0 runs   1 fails, or is refused   2 unknown
    """


@cli.command()
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml", "prom", "nfd"]),
    default="text",
    show_default=True,
    envvar="USERNS_PROBE_OUTPUT",
    help="text for people; json and yaml as in docs/report.schema.json; prom for node_exporter's textfile collector; "
    "nfd for Node Feature Discovery's feature files.",
)
@click.option(
    "--output-file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Replace FILE as a whole instead of printing; everyone may read it.",
)
@click.option("-v", "--verbose", count=True, help="Show all checks with all evidence.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing: the exit code is the answer.")
@volume_paths_option
@node_name_option
@interval_option
@try_runtime_option
@try_pod_option
@click.option(
    "--from-bundle",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Probe nothing: print the report of a node of which `userns-probe bundle` wrote FILE. - is stdin.",
)
@click.option("--memory", type=int, hidden=True, metavar="FD", help="What a probe of `watch` leaves to the next one.")
@probing_options
@colour_option
def report(
    output: str,
    output_file: str | None,
    verbose: int,
    quiet: bool,
    volume_paths: bool,
    node_name: str | None,
    interval: timedelta,
    try_runtime: bool,
    try_pod: bool,
    from_bundle: str | None,
    memory: int | None,
    proc: str,
    budget: timedelta,
    colour: str,
) -> NoReturn:
    """Probe this node and print the report. This is the default verb.

    \b
    Examples:
      userns-probe report
      userns-probe report -o json | jq .verdict
      userns-probe report --quiet || echo "do not schedule hostUsers: false here"
    """
    if from_bundle is not None:
        from probe.cli.bundle import read_bundle

        made = read_bundle(from_bundle)
    else:
        settings = settings_of(
            node_name=node_name or None,
            proc=proc,
            budget=budget,
            interval=interval,
            try_runtime=try_runtime,
            try_pod=try_pod,
            memory=memory,
        )
        made = probe_node(settings, quiet=quiet, volume_paths=volume_paths)
    if output_file:
        write_file(output_file, _rendered(made, output, verbose, colour).encode())
    elif not quiet:
        write(_rendered(made, output, verbose, colour), people=output == "text")
    end(EXIT_CODES[made.verdict])


def _rendered(made: Report, output: str, verbose: int, colour: str) -> str:
    if output == "text":
        from probe.outputs.terminal import render_report

        return render_report(made, width=width(), colour=coloured(colour), verbose=verbose)
    if output == "prom":
        from probe.outputs.metrics import render_prom

        return render_prom(made)
    from probe.outputs.documents import builtins, render_json, render_yaml

    if output == "nfd":
        from probe.watch.feature_file import render_features

        return render_features(builtins(made))
    return render_json(made) if output == "json" else render_yaml(made)


cli.add_command(path)
cli.add_command(pod)
cli.add_command(explain)
cli.add_command(watch)
cli.add_command(serve)
cli.add_command(prune)
cli.add_command(bundle)


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
        complain(f"userns-probe: {error}\n")
        code = UNFORESEEN
    except Exception as error:  # the outermost: whatever it is, it must not look like a verdict
        complain_of_bug(error)
        discard(sys.stdout)
        code = UNFORESEEN
    sys.exit(code or 0)


def _end(number: int, _frame: object) -> NoReturn:
    """Not by KeyboardInterrupt: once that went through exec(), as dataclasses call it, Python ends by the signal."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
