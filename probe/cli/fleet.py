"""The verb `fleet`: the inventory of a cluster."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from probe.cli.agent import kubeconfig_at_home
from probe.cli.console import USAGE, coloured, complain, width, write
from probe.cli.options import colour_option, lists_of

if TYPE_CHECKING:
    from probe.fleet.diff import Diff
    from probe.fleet.inventory import Inventory

UNREAD = 2
"""Exit code when the cluster could not be read."""
FORMATS = ("table", "json", "ndjson", "csv", "html", "prom", "openreports")


def _conditions(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from probe.fleet.conditions import CONDITIONS

    return lists_of(CONDITIONS, incomplete)


@click.command(short_help="Take the inventory of a cluster.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="table for people; html for auditors; json as in docs/fleet.schema.json; ndjson for DuckDB and other engines; "
    "csv for spreadsheets; prom for trends; openreports for kubectl apply.",
)
@click.option("-v", "--verbose", count=True, help="Show all rows of each table.")
@click.option(
    "--kubeconfig",
    envvar="KUBECONFIG",
    metavar="FILE",
    help="Kubeconfig. Default: the Pod's service account, else ~/.kube/config.",
)
@click.option("--context", metavar="NAME", help="Context of the kubeconfig. Default: its current one.")
@click.option("--cluster", metavar="NAME", help="Name of the cluster in the output. Default: the context's.")
@click.option(
    "--pool-label", default="", metavar="KEY", help="Label that names a Node's pool. Default: those of the clouds."
)
@click.option("-n", "--namespace", default="", metavar="NAME", help="Read the workloads of this namespace alone.")
@click.option(
    "--prometheus",
    default="",
    metavar="URL",
    envvar="USERNS_PROBE_PROMETHEUS",
    help="Ask this Prometheus for the kubelets' counters, in one query for all nodes.",
)
@click.option("--from", "kept", metavar="FILE", help="Read a saved inventory (-o json) instead of a cluster.")
@click.option("--diff", "old", metavar="FILE", help="Print the changes since a saved inventory (-o json).")
@click.option(
    "--fail-on",
    default="",
    metavar="CONDITION,...",
    shell_complete=_conditions,
    help="Exit with 1 if one holds: fails, not-ready, unknown, unconfined, contradiction, unsafe, worse.",
)
@colour_option
def fleet(
    output: str,
    verbose: int,
    kubeconfig: str | None,
    context: str | None,
    cluster: str | None,
    pool_label: str,
    namespace: str,
    prometheus: str,
    kept: str | None,
    old: str | None,
    fail_on: str,
    colour: str,
) -> int:
    """Take the inventory of a cluster: which workloads have user namespaces, can have them, or will fail.

    It sends GET requests only, writes nothing to the cluster and asks no kubelet. A resource that it may not list is
    reported as not read; all others are read. The exit code is 0 when the inventory was taken, 1 when a condition of
    --fail-on holds, 2 when the cluster could not be read or a condition is unknown.

    \b
    Examples:
      userns-probe fleet
      userns-probe fleet -o json > today.json
      userns-probe fleet -o html --prometheus http://prometheus:9090 > inventory.html
      userns-probe fleet --from today.json --diff yesterday.json --fail-on worse
    """
    from probe.fleet.conditions import exit_code, parse_conditions, unread
    from probe.fleet.diff import diff

    try:
        conditions = parse_conditions(fail_on)
    except ValueError as error:
        raise click.UsageError(f"--fail-on: {error}") from error
    if "worse" in conditions and not old:
        raise click.UsageError("--fail-on worse needs --diff")
    if old and output not in ("table", "json"):
        raise click.UsageError(f"--diff can be printed as table or json, not as {output}")
    _check_url(prometheus)
    before = _read(old) if old else None
    taken = _read(kept) if kept else _take(kubeconfig, context, cluster, pool_label, namespace, prometheus)
    if isinstance(taken, int):
        return taken
    change = diff(before, taken) if before is not None else None
    for text in _batches(_rendered(taken, change, output, verbose, colour)):
        write(text, people=output == "table")
    code, lines = exit_code(conditions, taken, change)
    if why := unread(taken):
        code, lines = code or UNREAD, [f"no list of the cluster could be read: {why}", *lines]
    for line in lines:
        complain(f"userns-probe: {line}\n")
    return code


def _check_url(url: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        valid = not url or (parts.scheme in ("http", "https") and bool(parts.hostname))
    except ValueError:
        valid = False
    if not valid:
        raise click.UsageError("--prometheus is not an http:// or https:// URL")


def _take(
    kubeconfig: str | None, context: str | None, cluster: str | None, pool_label: str, namespace: str, prometheus: str
) -> Inventory | int:
    """The inventory, or the exit code after a complaint."""
    from probe.fleet.take import Options, take
    from probe.publish.api.interface import NO_CREDENTIALS, Access, Failure
    from probe.publish.prune import render_failure

    access = Access(kubeconfig=kubeconfig or kubeconfig_at_home(), context=context, deadline=120.0, silence=30.0)
    if context and not access.kubeconfig:
        raise click.UsageError(f"--context {context} needs a kubeconfig, and there is none: name one with --kubeconfig")
    if namespace and not namespace.replace("-", "").isalnum():
        raise click.UsageError(f"{namespace!r} is not a valid name of a namespace")
    options = Options(
        access=access, cluster=cluster or "", pool_label=pool_label, namespace=namespace, prometheus=prometheus
    )
    gc.freeze()  # or each collection would look through all that was imported, a tenth of the CPU of an inventory
    try:
        with Progress() as progress:
            return take(options, progress.told)
    except Failure as failure:
        complain(f"userns-probe: {render_failure(failure)}\n")
        return USAGE if failure.reason == NO_CREDENTIALS else UNREAD


def _read(path: str) -> Inventory:
    from probe.fleet.outputs.documents import LARGEST, parse_inventory

    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        return parse_inventory(content)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise click.UsageError(f"{path}: {error}") from error


def _rendered(taken: Inventory, change: Diff | None, output: str, verbose: int, colour: str) -> Iterable[str]:
    """The output, in pieces of any size."""
    if change is not None:
        from probe.fleet.outputs.changes import render_changes
        from probe.outputs.documents import render_json as render_any

        if output == "json":
            return (render_any(change),)
        return (render_changes(change, width=width(), colour=coloured(colour), verbose=verbose),)
    if output == "table":
        from probe.fleet.outputs.table import render_table

        return (render_table(taken, width=width(), colour=coloured(colour), verbose=verbose),)
    from importlib import import_module

    module = {"json": "documents", "ndjson": "rows", "csv": "rows"}.get(output, output)
    render = getattr(import_module(f"probe.fleet.outputs.{module}"), f"render_{output}")
    found: str | Iterable[str] = render(taken)
    return (found,) if isinstance(found, str) else found


def _batches(pieces: Iterable[str], size: int = 1 << 16) -> Iterator[str]:
    """*pieces* joined to texts of about *size* characters."""
    held: list[str] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= size:
            yield "".join(held)
            held, length = [], 0
    yield "".join(held)


class Progress:
    """A line on a terminal, at most ten times a second: the list that is read, and how much of it."""

    def __init__(self) -> None:
        self._shown_at = 0.0
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown_at:
            complain("\r\x1b[K")

    def told(self, name: str, done: int, left: int | None) -> None:
        """Show that *done* objects of the list *name* were read; *left*: the remaining ones, or None."""
        now = time.monotonic()
        if not self._terminal or now - self._shown_at < 0.1:
            return
        self._shown_at = now
        complain(f"\r\x1b[K{progress_line(name, done, left, os.get_terminal_size(sys.stderr.fileno()).columns)}")


def progress_line(name: str, done: int, left: int | None, columns: int) -> str:
    """`pods [#####-----] 150,000 of 300,000`, of at most *columns* - 1 characters."""
    if not left:
        return f"{name} {done:,}"[: columns - 1]
    share = done / (done + left)
    bar = "#" * round(20 * share)
    return f"{name} [{bar:-<20}] {done:,} of {done + left:,}"[: columns - 1]
