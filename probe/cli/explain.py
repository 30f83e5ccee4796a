"""The verb `explain`: the question of a check, why it matters, and the fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from probe.cli.console import coloured, width, write
from probe.cli.explain_check import has_platforms, json_of, known_checks, text_of
from probe.cli.options import colour_option, read_whole, settings_of
from probe.cli.probing import probe_node
from probe.cli.upgrade import UPGRADE, check_versions, explain_upgrade, upgrade_options

if TYPE_CHECKING:
    from probe.report import Report

DEVICES = "hazard-device-hooks"
"""The check whose explanation takes a report: it has a row for each kind of device."""
NESTED = "nested"
"""In place of a CHECK: what is nested inside a Pod."""
REPORT_LIMIT = 16 << 20
"""Bytes of a report that are read."""


def _names() -> list[str]:
    """All that can stand in place of CHECK."""
    from probe.outputs.topics import TOPICS

    return [*known_checks(), NESTED, UPGRADE, *TOPICS]


def _beginning(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in _names() if name.startswith(incomplete)]


def _fits(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Workloads after `nested`, platforms after a check, nothing after a table."""
    from probe.checks.remedies.platforms import PLATFORMS
    from probe.outputs.topics import TOPICS
    from probe.outputs.workloads import WORKLOADS

    # An option without its value keeps click from taking the arguments.
    check = ctx.params.get("check") or next(iter(ctx.args), "")
    names = WORKLOADS if check == NESTED else () if check in TOPICS else PLATFORMS
    return [name for name in names if name.startswith(incomplete)]


@click.command()
@click.argument("check", required=False, shell_complete=_beginning)
@click.option(
    "--for",
    "fit",
    metavar="NAME",
    shell_complete=_fits,
    help="Show the fix for talos, k3s, ... (CHECK lists them); after `nested`, the smallest Pod for buildah, buildkit, "
    "dockerd, podman, systemd or k3s on this node, which is probed; after `volumes`, another kernel: 6.12.",
)
@click.option(
    "--report",
    "report_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="With `nested --for` and `upgrade`: probe nothing, read the report that `report -o json` printed. With "
    "hazard-device-hooks: show the devices of that report, with all reasons and fixes. - is stdin.",
)
@upgrade_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="text for people, json for machines.",
)
@colour_option
def explain(
    check: str | None, fit: str | None, report_file: str | None, output: str, colour: str, **versions: str | None
) -> int:
    """Explain a check: its question, why it matters, and the fix. Without CHECK: list all checks.

    `nested` in place of CHECK lists the checks of builders and engines inside a Pod; with --for it prints the manifest
    of the smallest Pod in which one works on this node, with the reason of each line. It exits with 0 if the Pod works,
    1 if not, 2 if that is unknown.

    Other tables in place of CHECK, each row with its source: `volumes`, what each CSI driver and volume type puts on a
    node and which kernels idmap it; `gates`, feature gates by version; `pod-security`, what a user namespace changes by
    policy version; `host-network`, which runtimes support hostNetwork with it; `pod-limits`, what no node can show.

    `upgrade` in place of CHECK shows what starts and what stops working on this node, which is probed, with another
    kernel, kubelet or container runtime; without a version, with every newer one.

    \b
    Examples:
      userns-probe explain
      userns-probe explain filesystem-tmpfs
      userns-probe explain kernel-user-namespaces --for talos
      userns-probe explain nested --for buildah
      userns-probe explain volumes --for 6.12
      userns-probe explain pod-limits -o json
      userns-probe explain upgrade --kernel 6.12 --kubernetes 1.36
      userns-probe -o json | userns-probe explain hazard-device-hooks --report -
    """
    if report_file and check not in (UPGRADE, DEVICES) and not (check == NESTED and fit):
        raise click.UsageError(f"--report needs `nested --for NAME`, `upgrade` or {DEVICES}")
    if report_file and check == DEVICES and output == "json":
        raise click.UsageError("the report is JSON already: leave -o json out")
    if check != UPGRADE and any(versions.values()):
        raise click.UsageError("a version needs `upgrade`, as in `explain upgrade --kernel 6.12`")
    if check == UPGRADE:
        return _upgrade(versions, fit, report_file, output, colour)
    if check == NESTED and fit:
        return _manifest(fit, report_file, output)
    from probe.checks.remedies.platforms import PLATFORMS
    from probe.outputs.topics import TOPICS

    if check in TOPICS:
        return _topic(check, fit, output, colour)
    found = known_checks().get(check or "")
    if check and check != NESTED and found is None:
        raise click.UsageError(f"there is no check {check!r}: {_meant(check, _names())}")
    if fit and (fit not in PLATFORMS or not has_platforms(found)):
        raise click.UsageError(f"--for needs a CHECK and one of {', '.join(PLATFORMS)}")
    if output == "json":
        write(json_of(found, nested=check == NESTED), people=False)
        return 0
    text = text_of(found, fit or "", nested=check == NESTED, colours=coloured(colour))
    if report_file:
        from probe.outputs.devices import render_devices

        text += render_devices(_read_report(report_file), width=width(), colour=coloured(colour))
    write(text)
    return 0


def _topic(name: str, release: str | None, output: str, colour: str) -> int:
    """Print a table, for the kernel of this machine or of *release*."""
    import os

    from probe.outputs.topics import render_topic, render_topic_json
    from probe.tables.filesystems import parse_kernel_release

    if release and (name != "volumes" or parse_kernel_release(release) is None):
        raise click.UsageError("--for is a release of Linux after `volumes`, as in `volumes --for 6.12`")
    kernel = release or os.uname().release
    if output == "json":
        write(render_topic_json(name, kernel), people=False)
    else:
        write(render_topic(name, kernel, width=width(), colour=coloured(colour)))
    return 0


def _upgrade(
    versions: dict[str, str | None], fit: str | None, report_file: str | None, output: str, colour: str
) -> int:
    """Print what other versions change on this node, or on the node of a report."""
    if fit:
        raise click.UsageError("`upgrade` takes no --for: name versions, as in --kernel 6.12")
    check_versions(versions)
    made = _read_report(report_file) if report_file else probe_node(settings_of(), quiet=False)
    return explain_upgrade(versions, made, output, colour)


def _manifest(fit: str, report_file: str | None, output: str) -> int:
    """Print the manifest of a workload on this node, or on the node of a report."""
    from probe.outputs.workloads import WORKLOADS

    if fit not in WORKLOADS:
        raise click.UsageError(f"`nested --for` needs one of {', '.join(WORKLOADS)}")
    if output == "json":
        raise click.UsageError("a manifest is YAML: leave -o json out")
    made = _read_report(report_file) if report_file else probe_node(settings_of(), quiet=False)
    from probe.outputs.manifest import render_manifest

    manifest = render_manifest(made, fit, WORKLOADS[fit])
    write(manifest.text)
    return {"ready": 0, "not-ready": 1, "unknown": 2}[manifest.verdict]


def _read_report(file: str) -> Report:
    """The report in *file*. *Errors*: UsageError that names it."""
    import msgspec

    from probe.report import Report

    content = read_whole(file, REPORT_LIMIT, "a report")
    try:
        return msgspec.json.decode(content, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise click.UsageError(f"{file} is not a report of this version: {str(error)[:200]}") from error


def _meant(word: str, names: Sequence[str]) -> str:
    """The names that *word* is a part of or is similar to, as a question; else how to see all of them."""
    import difflib  # only for what went wrong

    similar = sorted(
        (name for name in names if word and word.lower() in name), key=lambda name: not name.startswith(word.lower())
    )
    similar = similar or difflib.get_close_matches(word.lower(), names, 3)
    return f"did you mean {' or '.join(similar[:3])}?" if similar else "`userns-probe explain` lists them all"
