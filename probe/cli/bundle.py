"""The verb `bundle`: all that a probe read of this node, in one file for a bug report."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from probe import __version__
from probe.cli.console import UNFORESEEN, NotWritten, Progress, complain, rfc3339, write, write_file
from probe.cli.options import (
    node_name_option,
    probing_options,
    read_whole,
    settings_of,
    try_pod_option,
    try_runtime_option,
    volume_paths_option,
)

if TYPE_CHECKING:
    from probe.report import Report

FILE_LIMIT = 256 << 20
"""Bytes of a bundle that are read."""


@click.command(short_help="Save all that a probe read as an archive, for a bug report.")
@click.argument("file", metavar="FILE.tar.gz", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--force", is_flag=True, help="Replace FILE.")
@volume_paths_option
@node_name_option
@try_runtime_option
@try_pod_option
@probing_options
def bundle(
    file: str,
    force: bool,
    volume_paths: bool,
    node_name: str | None,
    try_runtime: bool,
    try_pod: bool,
    proc: str,
    budget: timedelta,
) -> int:
    """Probe this node, and write all that was read of it to FILE.tar.gz, for a bug report.

    Tokens, keys, passwords and their hashes, cloud IDs and environments are replaced by REDACTED-N. Addresses and names
    of hosts, users, Pods and mounts are not: read answers.ndjson in the archive before you send it. FILE is readable by
    its owner alone; `-` is stdout. `userns-probe report --from-bundle FILE.tar.gz` prints the report again, on any
    machine.

    \b
    Examples:
      userns-probe bundle node.tar.gz
      tar -xzOf node.tar.gz answers.ndjson | less
      kubectl exec -n userns-probe POD -c probe -- userns-probe bundle - > node.tar.gz
    """
    from probe.bundle.again import report_again, report_of
    from probe.bundle.archive import Bundle, Manifest, pack
    from probe.bundle.redact import Redactor
    from probe.facts.bundle.keep import gather_and_keep
    from probe.facts.runtime.cri import start_cri
    from probe.host.child import ChildError
    from probe.outputs.documents import builtins, render_json

    _demand_place(file, force)
    settings = settings_of(
        node_name=node_name or None, proc=proc, budget=budget, try_runtime=try_runtime, try_pod=try_pod
    )
    probed_at, uptime, began = datetime.now(UTC), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
    try:
        with Progress(budget), start_cri(settings) as cri:
            kept = gather_and_keep(settings, cri)
    except (TimeoutError, ChildError, OSError) as error:
        complain(f"userns-probe: no bundle was written, because the probe failed: {error or 'it took too long'}\n")
        return UNFORESEEN
    redactor = Redactor()
    asked = tuple(redactor.redact(kept.asked))
    manifest = Manifest(
        agent_version=__version__,
        node_name=settings.node_name,
        probed_at=rfc3339(probed_at),
        expires_at=rfc3339(probed_at + settings.lifetime),
        duration_seconds=round(time.monotonic() - began, 3),
        uptime_seconds=round(uptime, 3),
        volume_paths=volume_paths,
        redacted=redactor.count,
    )
    made = Bundle(manifest, asked)
    told = redactor.value(builtins(report_of(manifest, kept.facts)))
    content = pack(made, render_json(told))
    _put(file, content)
    name = "stdout" if file == "-" else file
    summary = (
        f"{name}: {len(content) / 1024:.0f} KiB, {len(asked)} answers, {redactor.count} secrets redacted\n"
        f"{_compared(told, redactor.value(builtins(report_again(made))))}\n"
        f"Read it before you send it: tar -xzOf {file} answers.ndjson | less\n"
    )
    if file == "-":
        complain(summary)
    else:
        write(summary)
    return 0


def read_bundle(file: str) -> Report:
    """The report of the bundle in *file*, `-` for stdin, made again. *Errors*: UsageError that names the file."""
    from probe.bundle.again import report_again
    from probe.bundle.archive import BundleError, unpack

    content = read_whole(file, FILE_LIMIT, "a bundle")
    try:
        made = unpack(content)
        if made.manifest.agent_version != __version__:
            complain(
                f"userns-probe: {file} was written by version {made.manifest.agent_version}, this is {__version__}: "
                "facts that only this version reads are unknown\n"
            )
        return report_again(made)
    except BundleError as error:
        raise click.UsageError(f"{file} {error}") from error


def _demand_place(file: str, force: bool) -> None:
    if file == "-" and sys.stdout.isatty():
        raise click.UsageError("FILE is -, and stdout is a terminal: redirect it, or name a file")
    if file != "-" and not force and os.path.lexists(file):
        raise click.UsageError(f"{file} exists: name another file, or replace it with --force")
    if file != "-" and not os.path.isdir(directory := os.path.dirname(file) or "."):
        raise click.UsageError(f"{directory} is not a directory")


def _put(file: str, content: bytes) -> None:
    """Write a file that its owner alone may read. *Errors*: NotWritten."""
    if file != "-":
        write_file(file, content, mode=0o600)
        return
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise NotWritten(f"cannot write to stdout: {error.strerror}") from error


def _compared(told: Any, again: Any) -> str:
    differing = [key for key in told if told[key] != again.get(key)]
    if not differing:
        return "Replayed, it gives the same report."
    return f"Replayed, it gives a different report, in {', '.join(differing)}: mention that when you send it."
