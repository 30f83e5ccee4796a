"""Options that several verbs share, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import click

from probe.cli.report import COLOURS
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
    type=click.Choice(COLOURS),
    default=COLOURS[0],
    show_default=True,
    help="Colour the text. auto: on a terminal, unless NO_COLOR is set or TERM is dumb.",
)


node_name_option = click.option(
    "--node-name", envvar="NODE_NAME", help="Name of this Node in Kubernetes.  [env var: NODE_NAME]"
)
volume_paths_option = click.option(
    "--volume-paths", is_flag=True, help="Include the paths of volumes, which name Pods."
)
interval_option = click.option(
    "--interval",
    type=Duration(INTERVALS),
    default="5m",
    show_default=True,
    envvar="USERNS_PROBE_INTERVAL",
    help="Time between probes; a report expires after three intervals.",
)
watch_interval_option = click.option(
    "--interval",
    type=Duration(INTERVALS),
    default="30m",
    show_default=True,
    envvar="USERNS_PROBE_INTERVAL",
    help="Longest time between two probes; a change is probed at once.",
)
report_file_option = click.option(
    "--report-file",
    required=True,
    metavar="FILE",
    envvar="USERNS_PROBE_REPORT_FILE",
    help="The report, written by `watch` and read by `serve`.",
)


try_runtime_option = click.option(
    "--try-runtime",
    is_flag=True,
    envvar="USERNS_PROBE_TRY_RUNTIME",
    help="Let the node's own OCI runtime create a container, which is never started. The runtime runs with all "
    "privileges, in the cgroup /userns-probe-trial; if this probe is killed, the next one removes that cgroup.",
)
try_pod_option = click.option(
    "--try-pod",
    is_flag=True,
    envvar="USERNS_PROBE_TRY_POD",
    help="Let the node's own container runtime make a Pod with a user namespace, start its pause image, look at it and "
    "remove it. Nothing is pulled; it costs an IP address for a second, and entries in logs: see docs/pod-trial.md.",
)


def lists_of(names: Iterable[str], incomplete: str) -> list[str]:
    """The lists with commas that *incomplete* begins: with each of *names* that it does not have yet."""
    done, comma, last = incomplete.rpartition(",")
    return [f"{done}{comma}{name}" for name in names if name.startswith(last) and name not in done.split(",")]


def probing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every verb that touches the node."""
    for option in reversed(
        (
            click.option(
                "--proc",
                default="/proc",
                show_default=True,
                envvar="USERNS_PROBE_PROC",
                help="Mount point of the node's /proc in a container without hostPID.",
            ),
            click.option(
                "--budget",
                type=Duration(BUDGETS),
                default=f"{BUDGET.total_seconds():g}s",
                show_default=True,
                envvar="USERNS_PROBE_BUDGET",
                help="Longest time for a probe, even if file systems hang. Above 20s, each timeout grows too.",
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


def read_whole(file: str, limit: int, kind: str) -> bytes:
    """Content of *file*, `-` for stdin, of at most *limit* bytes. *Errors*: UsageError; *kind*: what it should be."""
    try:
        with click.open_file(file, "rb") as opened:
            content = opened.read(limit + 1)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from error
    if len(content) > limit:
        raise click.UsageError(f"{file} is larger than {limit >> 20} MiB, so it is not {kind}")
    return bytes(content)
