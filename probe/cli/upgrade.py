"""`explain upgrade`: what another kernel, kubelet or container runtime changes on this node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from probe.cli.console import coloured, width, write

F = TypeVar("F", bound=Callable[..., Any])

UPGRADE = "upgrade"
"""In place of a CHECK: what versions change."""
_OPTIONS = {
    "kernel": ("6.12", "Linux"),
    "kubernetes": ("1.36", "Kubernetes"),
    "containerd": ("2.1.9", "containerd"),
    "crio": ("1.37.0", "CRI-O"),
}


def upgrade_options(function: F) -> F:
    """The option of each component."""
    for name, (example, program) in reversed(_OPTIONS.items()):
        words = f"After `upgrade`: what {program} of that version changes, as in --{name} {example}."
        function = click.option(f"--{name}", metavar="VERSION", help=words)(function)
    return function


def explain_upgrade(versions: dict[str, str | None], report: Any, output: str, colour: str) -> int:
    """Print what *versions*, by option, change on the node of *report*; without any, what all newer ones do."""
    from probe.checks.upgrades.catalog import judge_upgrade
    from probe.checks.upgrades.model import Target
    from probe.outputs.upgrades import render_upgrade, render_upgrade_json

    upgrade = judge_upgrade(report, Target(**{name: version or "" for name, version in versions.items()}))
    if output == "json":
        write(render_upgrade_json(upgrade), people=False)
    else:
        write(render_upgrade(upgrade, width=width(), colour=coloured(colour)))
    return 0


def check_versions(versions: dict[str, str | None]) -> None:
    """*Errors*: UsageError for a version that is none."""
    from probe.facts.kubelet.versions import parse_release as parse_kubernetes
    from probe.facts.runtime.oci import parse_version_number
    from probe.tables.filesystems import parse_kernel_release

    parsers: dict[str, Callable[[str], object]] = {"kernel": parse_kernel_release, "kubernetes": parse_kubernetes}
    for name, version in versions.items():
        if version is None:
            continue
        try:
            number = parsers.get(name, parse_version_number)(version)
        except ValueError:
            number = None
        if number is None:
            raise click.UsageError(f"--{name} {version[:80]!r} is not a version, as {_OPTIONS[name][0]} is")
