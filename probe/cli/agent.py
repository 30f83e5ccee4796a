"""The verbs of the DaemonSet: `watch` probes the node, `serve` listens and publishes, `prune` cleans up."""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from typing import NoReturn

import click

from probe.cli.console import NotWritten, complain, write
from probe.cli.options import (
    Duration,
    lists_of,
    node_name_option,
    probing_options,
    report_file_option,
    settings_of,
    try_pod_option,
    volume_paths_option,
    watch_interval_option,
)

STALE_AGES = (timedelta(hours=12), timedelta(days=30))
"""Shortest and longest age of what is stale: a running agent renews it every six hours, give or take an hour."""


@click.command(short_help="Probe this node repeatedly, in the DaemonSet.")
@report_file_option
@click.option(
    "--nfd-dir",
    default="",
    metavar="DIR",
    envvar="USERNS_PROBE_NFD_DIR",
    help="Also write DIR/userns-probe, a feature file of Node Feature Discovery; see docs/interop.md.",
)
@volume_paths_option
@node_name_option
@watch_interval_option
@try_pod_option
@probing_options
def watch(
    report_file: str,
    nfd_dir: str,
    volume_paths: bool,
    node_name: str | None,
    interval: timedelta,
    try_pod: bool,
    proc: str,
    budget: timedelta,
) -> NoReturn:
    """Probe this node repeatedly: every interval, when something changes on the node, and at once on SIGHUP.

    Every 15 seconds it checks whether anything changed that the last probe read: files, programs, processes, sysctls,
    mounts. After a change it probes at once, at the earliest a minute after the last probe.
    Each probe is a process of its own; its report replaces the last one in FILE. It opens no network port.

    \b
    Examples:
      userns-probe watch --report-file /run/userns-probe/report.json
      userns-probe watch --report-file report.json --interval 15m
    """
    from probe.watch import __file__ as package
    from probe.watch.supervisor import SIGNALS

    settings_of(node_name=node_name or None, proc=proc, budget=budget, interval=interval)
    if interval < budget:
        raise click.UsageError(
            f"--interval {interval.total_seconds():g}s is shorter than --budget {budget.total_seconds():g}s"
        )
    interval_seconds, budget_seconds = (f"{one.total_seconds():g}" for one in (interval, budget))
    probing = [f"--nfd-dir={nfd_dir}"] if nfd_dir else []
    probing += [f"--proc={proc}", f"--budget={budget_seconds}s"]
    probing += [f"--node-name={node_name}"] if node_name else []
    probing += ["--volume-paths"] if volume_paths else []
    probing += ["--try-pod"] if try_pod else []
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    # A new interpreter, without all that was imported to read options, and with nothing but the standard library.
    main = os.path.join(os.path.dirname(package), "__main__.py")
    command = [sys.executable, "-I", "-S", main, report_file, interval_seconds, budget_seconds, *probing]
    os.execv(command[0], command)


def _parts(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from probe.publish.parts import PARTS

    return lists_of(PARTS, incomplete)


@click.command(short_help="Serve the report as a page and as metrics, and publish it.")
@report_file_option
@click.option(
    "--listen",
    default=":9476",
    show_default=True,
    envvar="USERNS_PROBE_LISTEN",
    metavar="HOST:PORT",
    help="Without HOST: all addresses. Port 0: any free port; the log names it.",
)
@node_name_option
@click.option(
    "--publish",
    default="",
    envvar="USERNS_PROBE_PUBLISH",
    metavar="PART,...",
    shell_complete=_parts,
    help="Publish to the Node: annotations, label, condition, events. Default: nothing.",
)
@click.option("--tls-cert-file", metavar="FILE", help="Certificate with its chain, in PEM; reloaded when it changes.")
@click.option("--tls-private-key-file", metavar="FILE", help="Private key of the certificate, in PEM.")
def serve(
    report_file: str,
    listen: str,
    node_name: str | None,
    publish: str,
    tls_cert_file: str | None,
    tls_private_key_file: str | None,
) -> NoReturn:
    """Serve the report of `watch` as a page and as metrics, and publish it to the Node.

    It needs no privilege and reads nothing but the report. It ignores reports of another node or boot.

    \b
    Examples:
      userns-probe serve --report-file /run/userns-probe/report.json
      userns-probe serve --report-file report.json --listen 127.0.0.1:9476 --publish annotations,label
    """
    from probe.publish.parts import parse_parts
    from probe.serve.options import Options

    name = settings_of(node_name=node_name or None).node_name
    try:
        parse_parts(publish)
        Options(
            report_file=report_file,
            listen=listen,
            node_name=name,
            certificate=tls_cert_file,
            private_key=tls_private_key_file,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    execute_exporter(report_file, listen, name or "", tls_cert_file or "", tls_private_key_file or "", publish)


def execute_exporter(*arguments: str) -> NoReturn:
    """Become the process that serves: a new interpreter, without all that was imported to read options."""
    from probe.cli import exporter

    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    command = [sys.executable, "-P", exporter.__file__, *arguments]
    os.execv(command[0], command)


@click.command(short_help="Remove everything that userns-probe published from Nodes.")
@click.option("--all", "every", is_flag=True, help="Every Node; needs an administrator's kubeconfig.")
@click.option(
    "--stale",
    type=Duration(STALE_AGES),
    metavar="DURATION",
    help="On every Node, remove only the label and the condition, if they were not refreshed for DURATION or are of "
    "another boot.",
)
@node_name_option
@click.option(
    "--kubeconfig",
    envvar="KUBECONFIG",
    metavar="FILE",
    help="Kubeconfig. Default: the Pod's service account, else ~/.kube/config.",
)
@click.option("--context", metavar="NAME", help="Context of the kubeconfig. Default: its current one.")
@click.pass_context
def prune(
    command: click.Context,
    every: bool,
    stale: timedelta | None,
    node_name: str | None,
    kubeconfig: str | None,
    context: str | None,
) -> int:
    """Remove everything that userns-probe published to Nodes, and nothing else.

    Run it after deleting the DaemonSet, since a running exporter publishes again, and before deleting its namespace.
    With --stale it retracts what an agent that is gone left behind; a running one renews it every six hours.
    The exit code is 0 if nothing of userns-probe is left on the Nodes, or nothing stale, else 1.

    \b
    Examples:
      userns-probe prune --all --kubeconfig ~/.kube/config
      userns-probe prune --node-name worker-3 --kubeconfig ~/.kube/config
      userns-probe prune --stale 24h
    """
    from probe.publish.api.interface import Access, Failure
    from probe.publish.prune import exit_code, render_failure, render_pruned
    from probe.publish.prune import prune as prune_nodes
    from probe.publish.stale import prune_stale

    if every and stale:
        raise click.UsageError("use either --all or --stale: --all removes all that was published")
    if (every or stale) and command.get_parameter_source("node_name") is click.core.ParameterSource.COMMANDLINE:
        option = "--all" if every else "--stale"
        raise click.UsageError(f"either {option} or --node-name {node_name}: {option} applies to every Node")
    name = None if every or stale else settings_of(node_name=node_name or None).node_name
    if not (every or stale or name):
        raise click.UsageError("name a Node: --node-name NAME, --all or --stale DURATION")
    access = Access(kubeconfig=kubeconfig or kubeconfig_at_home(), context=context)
    if context and not access.kubeconfig:
        raise click.UsageError(f"--context {context} needs a kubeconfig, and there is none: name one with --kubeconfig")
    pruned = []
    unwritten: NotWritten | None = None
    try:
        for one in prune_stale(access, stale.total_seconds()) if stale else prune_nodes(access, name):
            pruned.append(one)
            try:
                write(f"{render_pruned(one)}\n")
            except NotWritten as error:  # a full disk; the Nodes are what counts
                unwritten = error
    except Failure as failure:
        complain(f"userns-probe: {render_failure(failure, name or '')}\n")
        return 1
    if unwritten is not None:
        raise unwritten
    if not pruned:
        write(f"no Node has anything {'stale' if stale else 'of ours'}\n")
    return exit_code(pruned)


def kubeconfig_at_home() -> str | None:
    """Path of kubectl's kubeconfig; None in a Pod, which has a service account."""
    path = os.path.expanduser("~/.kube/config")
    return path if not os.environ.get("KUBERNETES_SERVICE_HOST") and os.path.exists(path) else None
