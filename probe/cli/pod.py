"""The verb `pod`: will these Pods run here with a user namespace?"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from probe.cli.console import USAGE, Progress, coloured, complain, width, write
from probe.cli.options import colour_option, probing_options, settings_of

if TYPE_CHECKING:
    from probe.pod.documents import Document
    from probe.pod.manifests import Workload
    from probe.pod.model import Node
    from probe.report import FilesystemRow
    from probe.settings import Settings

_TOLD_LIMIT = 4 << 20
"""Bytes of a report, or of a Node with its images and annotations."""
_PATHS = 500
"""Most paths that are tried."""


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.option(
    "--report",
    "told",
    type=click.Path(),
    metavar="FILE",
    help="Judge for the node of this report (userns-probe -o json), or of this Node (kubectl get node NAME -o json), "
    "instead of this node.",
)
@click.option("--assume", is_flag=True, help="Judge Pods that do not set hostUsers as if they set false.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml"]),
    default="text",
    show_default=True,
    help="text for people; json and yaml as in docs/pod.schema.json.",
)
@click.option("-v", "--verbose", count=True, help="Show every reason, even of Pods that run, and notes.")
@probing_options
@colour_option
def pod(
    files: tuple[str, ...],
    told: str | None,
    assume: bool,
    output: str,
    verbose: int,
    proc: str,
    budget: timedelta,
    colour: str,
) -> int:
    """Will these Pods run here with a user namespace?

    FILE contains Pods or workloads (Deployments, Jobs, ...) as YAML or JSON; - is stdin. PersistentVolumeClaims,
    PersistentVolumes, StorageClasses, RuntimeClasses and ServiceAccounts in it are taken into account. hostPaths are
    tried as by the verb `path`; nothing of a Pod is created.

    \b
    Exit codes, of the worst Pod:
      0 runs   1 fails, or the API server refuses it   2 unknown   64 FILE contains no Pod, or cannot be read

    \b
    Examples:
      userns-probe pod deployment.yaml
      helm template . | userns-probe pod --assume -
      kubectl get pods -A -o json | userns-probe pod --report node-7.json -o json -
    """
    from probe.outputs.pods import Pods, node_row, pod_row, render_pods
    from probe.pod.judge import is_judged, judge
    from probe.pod.manifests import find_workloads
    from probe.pod.model import Node

    if told == "-" and "-" in files:
        raise click.UsageError("stdin can hold either the manifests or the report")
    settings = settings_of(proc=proc, budget=budget)
    problems: list[str] = []
    found = find_workloads(_documents(files, problems), assume)
    problems += found.problems
    node, as_of = Node(told_by="report" if told else "probe"), ""
    judged = [one for one in found.workloads if one.pod and is_judged(one.pod)]
    if told:
        node, as_of = _told(told)
    elif judged:
        node, as_of = _probed(settings, judged)
    rows = tuple(pod_row(one, judge(one.pod, node) if one.pod else None) for one in found.workloads)
    document = Pods(node=node_row(node, as_of), pods=rows, problems=tuple(problems))
    if output == "text":
        text = render_pods(document, width=width(), colour=coloured(colour), verbose=verbose)
    else:
        from probe.outputs.documents import render_json, render_yaml

        text = render_json(document) if output == "json" else render_yaml(document)
    if rows or output != "text":
        write(text, people=output == "text")
    return _exit_code({row.outcome for row in rows}, problems)


def _exit_code(outcomes: set[str], problems: list[str]) -> int:
    from probe.outputs.text import visible

    if not outcomes and not problems:
        problems = ["found no Pod and no workload"]
    complain("".join(f"userns-probe: {visible(problem, 400)}\n" for problem in problems))
    if problems:
        return USAGE
    return 1 if outcomes & {"refused", "fails"} else 2 if "unknown" in outcomes else 0


def _documents(files: Iterable[str], problems: list[str]) -> Iterator[tuple[str, Iterable[Document]]]:
    """The documents of each file; one that cannot be read is a problem, and all together are bounded."""
    from probe.pod.documents import BYTES, parse_documents

    left = BYTES
    for file in files:
        try:
            content = _read(file, left)
        except OSError as error:
            problems.append(f"{file}: {error.strerror}")
            continue
        if len(content) > left:
            problems.append(f"{file}: all files together have more than {BYTES >> 20} MiB; it was not read")
            continue
        left -= len(content)
        yield file, parse_documents(content)


def _read(file: str, limit: int) -> bytes:
    """At most one byte more than *limit* of *file*, or of stdin for `-`. *Errors*: OSError."""
    if file == "-":
        return sys.stdin.buffer.read(limit + 1)
    with open(os.fspath(file), "rb") as opened:
        return opened.read(limit + 1)


def _told(file: str) -> tuple[Node, str]:
    """The node of a report, or of a Node object, and from when that is. *Errors*: UsageError."""
    import msgspec

    from probe.pod.documents import parse_documents
    from probe.report import SCHEMA

    try:
        content = _read(file, _TOLD_LIMIT)
    except OSError as error:
        raise click.UsageError(f"--report {file}: {error.strerror}") from error
    if len(content) > _TOLD_LIMIT:
        raise click.UsageError(f"--report {file}: has more than {_TOLD_LIMIT >> 20} MiB")
    document = next(iter(parse_documents(content)), None)
    value = document.value if document else None
    if document is None or document.problem or not isinstance(value, dict):
        why = document.problem if document else "is empty"
        raise click.UsageError(f"--report {file}: {why or 'is neither a report nor a Node'}")
    try:
        if value.get("kind") != "Node" and value.get("schema") != SCHEMA:
            raise click.UsageError(f"--report {file}: is neither a report of {SCHEMA} nor a Node")
        return told_node(value, time.time())
    except msgspec.ValidationError as error:
        raise click.UsageError(f"--report {file}: {error}") from error


def told_node(value: dict[str, Any], now: float) -> tuple[Node, str]:
    """The node that a report or a Node object describes at *now*, seconds since the epoch, and from when that is.

    *Errors*: msgspec.ValidationError.
    """
    import msgspec

    from probe.outputs.staleness import is_fresh
    from probe.pod.node import node_of_report, stale_node
    from probe.report import Report

    if value.get("kind") == "Node":
        from probe.fleet.node_object import node_of_object

        return node_of_object(value, now)
    report = msgspec.convert(value, Report)
    return (node_of_report if is_fresh(report, now) else stale_node)(report), report.probed_at


def _probed(settings: Settings, workloads: Iterable[Workload]) -> tuple[Node, str]:
    """The node of this process as it is now, with attempts at all hostPaths of *workloads*."""
    import msgspec

    from probe.cli.probing import probe_node
    from probe.pod.node import node_of_report

    report = probe_node(settings, quiet=False, volume_paths=True)
    rows: list[FilesystemRow] = []
    above: dict[str, FilesystemRow] = {}
    file_types: dict[str, int] = {}
    if paths := _paths(workloads):
        from probe.facts.paths import gather_paths
        from probe.make_report import filesystem_row

        with Progress(settings.budget):
            attempts = gather_paths(settings, paths)
            # No server that hung is waited for a second time.
            lost = [path for one, path in zip(attempts, paths, strict=True) if one.kind == "not-readable"]
            made = [filesystem_row(one) for one in gather_paths(settings, lost, made=True)] if lost else []
        tried = zip(map(filesystem_row, attempts), paths, strict=True)
        rows = [msgspec.structs.replace(row, path=path) for row, path in tried]
        above = {path: row for row, path in zip(made, lost, strict=True) if row.fstype and row.path != path}
        rows = [row for row in rows if row.path not in above]
        file_types = {path: one.file_type for one, path in zip(attempts, paths, strict=True) if one.file_type}
    return node_of_report(report, "probe", rows, above, file_types), report.probed_at


def _paths(workloads: Iterable[Workload]) -> list[str]:
    """Paths that Pods mount, each once, as the kernel can take them."""
    from probe.pod.volumes import paths_of

    found = dict.fromkeys(path for one in workloads if one.pod for path in paths_of(one.pod))
    return [path for path in found if path.startswith("/") and "\0" not in path and _is_text(path)][:_PATHS]


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return len(path) < 4096
