"""The options that several verbs have in common, and how their values are written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from probe.settings import BUDGET, BUDGETS, INTERVALS, Settings, between, parse_duration


class Duration(click.ParamType):  # type: ignore[type-arg]
    """`90s`, `5m`, `1h30m`, within limits."""

    name = "duration"

    def __init__(self, limits: tuple[timedelta, timedelta]) -> None:
        self._limits = limits

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The duration, or a usage error that repeats what was typed and says what would do."""
        if isinstance(value, timedelta):
            return value
        try:
            duration = parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self._limits[0] <= duration <= self._limits[1]:
            self.fail(f"{value!r} is not {between(self._limits)}", param, ctx)
        return duration


colour_option = click.option(
    "--colour",
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colours for people; NO_COLOR in the environment means never.",
)


node_name_option = click.option(
    "--node-name", envvar="NODE_NAME", help="As Kubernetes names this node.  [env var: NODE_NAME]"
)
volume_paths_option = click.option(
    "--volume-paths", is_flag=True, help="Name the paths of volumes, and with them Pods."
)
interval_option = click.option(
    "--interval",
    type=Duration(INTERVALS),
    default="5m",
    show_default=True,
    envvar="USERNS_PROBE_INTERVAL",
    help="How often probes are made; the report expires after three of these.",
)
report_file_option = click.option(
    "--report-file",
    required=True,
    metavar="FILE",
    envvar="USERNS_PROBE_REPORT_FILE",
    help="Where `watch` puts the report and `serve` finds it.",
)


try_runtime_option = click.option(
    "--try-runtime",
    is_flag=True,
    envvar="USERNS_PROBE_TRY_RUNTIME",
    help="Let the node's own OCI runtime create a container, never started, and look at it. It runs with all rights, "
    "and makes the cgroup /userns-probe-trial, which the next probe removes if this one is killed.",
)


def probing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every verb that touches the node."""
    for option in reversed(
        (
            click.option(
                "--proc",
                default="/proc",
                show_default=True,
                envvar="USERNS_PROBE_PROC",
                help="The node's /proc, where a container without hostPID has it mounted.",
            ),
            click.option(
                "--budget",
                type=Duration(BUDGETS),
                default=f"{BUDGET.total_seconds():g}s",
                show_default=True,
                envvar="USERNS_PROBE_BUDGET",
                help="How long the probe may take, with file systems that hang; beyond 20s each wait is longer, too.",
            ),
        )
    ):
        command = option(command)
    return command


def settings_of(**values: Any) -> Settings:
    """The settings, or a usage error that names what is wrong."""
    try:
        return Settings(**values)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
