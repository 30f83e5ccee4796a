"""The verb `explain`: the question of a check, why it matters, and the fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from probe.cli.console import coloured, width, write
from probe.cli.options import colour_option, settings_of
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


def _checks(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from probe.checks.catalog import CHECKS
    from probe.checks.forecasts.catalog import CHECKS as FORECASTS
    from probe.checks.nested.catalog import CHECKS as NESTED_CHECKS
    from probe.outputs.topics import TOPICS

    ids = [*_ids(CHECKS), *_ids(NESTED_CHECKS), *_ids(FORECASTS)]
    return [name for name in (*ids, NESTED, UPGRADE, *TOPICS) if name.startswith(incomplete)]


def _ids(checks: Sequence[Any]) -> list[str]:
    return [check.id for check in checks]


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
@click.argument("check", required=False, shell_complete=_checks)
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

    `upgrade` in place of CHECK tells what starts and what stops working on this node, which is probed, with another
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
    from probe.checks.catalog import CHECKS, find
    from probe.checks.forecasts.catalog import CHECKS as FORECASTS
    from probe.checks.forecasts.catalog import find as find_forecast
    from probe.checks.nested.catalog import CHECKS as NESTED_CHECKS
    from probe.checks.nested.catalog import find as find_nested
    from probe.checks.remedies.platforms import PLATFORMS
    from probe.outputs.explain import render_catalog, render_check, render_checks_json
    from probe.outputs.explain_forecasts import render_forecast_check, render_forecasts_json
    from probe.outputs.explain_nested import render_nested_catalog, render_nested_check, render_nested_json
    from probe.outputs.topics import TOPICS

    if check in TOPICS:
        return _topic(check, fit, output, colour)
    chosen, nested = (find(check), find_nested(check)) if check else (None, None)
    forecast = find_forecast(check) if check else None
    if check and check != NESTED and chosen is None and nested is None and forecast is None:
        ids = [*_ids(CHECKS), *_ids(NESTED_CHECKS), *_ids(FORECASTS), NESTED, UPGRADE, *TOPICS]
        raise click.UsageError(f"no check is called {check!r}: {_meant(check, ids)}")
    if fit and (chosen is None or fit not in PLATFORMS):
        raise click.UsageError(f"--for needs a CHECK and one of {', '.join(PLATFORMS)}")
    columns, colours = width(), coloured(colour)
    if forecast:
        text = render_forecast_check(forecast, width=columns, colour=colours)
    elif nested:
        text = render_nested_check(nested, width=columns, colour=colours)
    elif check == NESTED:
        text = render_nested_catalog(NESTED_CHECKS, width=columns, colour=colours)
    elif chosen:
        text = render_check(chosen, width=columns, colour=colours, platform=fit or "")
        if report_file:
            from probe.outputs.devices import render_devices

            text += render_devices(_read_report(report_file), width=columns, colour=colours)
    else:
        text = render_catalog(CHECKS, width=columns, colour=colours)
    if output == "json":
        of_nested = (nested,) if nested else NESTED_CHECKS if check == NESTED else ()
        text = render_nested_json(of_nested) if of_nested else render_checks_json((chosen,) if chosen else CHECKS)
        text = render_forecasts_json((forecast,)) if forecast else text
    write(text, people=output == "text")
    return 0


def _topic(name: str, release: str | None, output: str, colour: str) -> int:
    """Print a table, for the kernel of this machine or of *release*."""
    import os

    from probe.outputs.topics import render_topic, render_topic_json
    from probe.tables.filesystems import parse_release

    if release and (name != "volumes" or parse_release(release) is None):
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
        raise click.UsageError("--for says nothing of `upgrade`: name versions, as in --kernel 6.12")
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

    try:
        with click.open_file(file, "rb") as opened:
            content = opened.read(REPORT_LIMIT + 1)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from error
    if len(content) > REPORT_LIMIT:
        raise click.UsageError(f"{file} is larger than {REPORT_LIMIT >> 20} MiB, so it is no report")
    try:
        return msgspec.json.decode(content, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise click.UsageError(f"{file} is no report of this version: {str(error)[:200]}") from error


def _meant(word: str, names: Sequence[str]) -> str:
    """The names that *word* is a part of or is similar to, as a question; else how to see all of them."""
    import difflib  # only for what went wrong

    similar = [name for name in names if word and word.lower() in name]
    similar = similar or difflib.get_close_matches(word.lower(), names, 3)
    return f"did you mean {' or '.join(similar[:3])}?" if similar else "`userns-probe explain` lists them all"
