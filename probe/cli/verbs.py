"""The verbs and their options, read by click. *Exit codes*: probe.cli.start."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from probe import __version__
from probe.cli.agent import prune, serve, watch
from probe.cli.bundle import bundle
from probe.cli.console import USAGE, complain
from probe.cli.explain import explain
from probe.cli.fleet import fleet
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
from probe.cli.report import OUTPUTS, Request, probe_and_say, say


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
      userns-probe fleet                 take the inventory of a cluster
      userns-probe bundle node.tar.gz    all that a probe read, for a bug report

    \b
    Exit codes:
      0 ready   1 not ready   2 unknown   64 usage   69 Python is too old   70 bug   130 Ctrl-C   143 SIGTERM
      path: 0 supported   1 refused   2 unknown      prune: 0 nothing is left   1 something is
      pod:  0 runs   1 fails, or is refused   2 unknown
      fleet: 0 taken   1 a condition of --fail-on holds   2 the cluster or a condition could not be read
    """


@cli.command()
@click.option(
    "-o",
    "--output",
    type=click.Choice(OUTPUTS),
    default=OUTPUTS[0],
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
    help="Probe nothing: print the report of the node whose answers `userns-probe bundle` saved in FILE. - is stdin.",
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
    settings = settings_of(
        node_name=node_name or None,
        proc=proc,
        budget=budget,
        interval=interval,
        try_runtime=try_runtime,
        try_pod=try_pod,
        memory=memory,
    )
    request = Request(
        settings=settings,
        output=output,
        output_file=output_file,
        verbose=verbose,
        quiet=quiet,
        volume_paths=volume_paths,
        colour=colour,
    )
    if from_bundle is None:
        probe_and_say(request)
    from probe.cli.bundle import read_bundle

    say(read_bundle(from_bundle), request)


cli.add_command(path)
cli.add_command(pod)
cli.add_command(explain)
cli.add_command(watch)
cli.add_command(serve)
cli.add_command(prune)
cli.add_command(bundle)
cli.add_command(fleet)


def run(arguments: list[str]) -> int:
    """Run the command line. Returns the exit code; an error of usage is written to stderr."""
    try:
        code = cli.main(arguments, prog_name="userns-probe", standalone_mode=False)
    except click.exceptions.Exit as ending:
        code = ending.exit_code
    except click.ClickException as error:
        words = io.StringIO()
        error.show(words)
        complain(words.getvalue())
        code = USAGE
    except click.Abort:
        code = 130
    return code or 0
