"""The changes by an upgrade of a node, for people and as JSON."""

from __future__ import annotations

from itertools import groupby

from probe.checks.upgrades.catalog import Upgrade, judge_upgrade
from probe.checks.upgrades.model import Component, Effect, Step, Target
from probe.outputs.documents import render_json
from probe.outputs.text import Cell, Page, mark
from probe.report import Report
from probe.terms import Status

NAMES: dict[Component, str] = {
    "kernel": "Linux",
    "kubernetes": "Kubernetes",
    "containerd": "containerd",
    "cri-o": "CRI-O",
}
_STATUS: dict[Effect, Status] = {"starts": "pass", "stops": "warn", "unknown": "unknown"}
_WORDS: dict[Effect, str] = {"starts": "starts to work", "stops": "stops working", "unknown": "may change"}


def render_upgrade(upgrade: Upgrade, *, width: int | None, colour: bool) -> str:
    """All steps by component, each with its source."""
    page = Page(width=width, colour=colour)
    now = (
        upgrade.kernel and f"Linux {upgrade.kernel}",
        upgrade.kubernetes and f"Kubernetes {upgrade.kubernetes}",
        upgrade.runtime,
    )
    page.line(("UPGRADE", "bold"), f"  of {', '.join(filter(None, now)) or 'a node of unknown versions'}")
    targets = _targets(upgrade.target)
    page.line(f"to {targets}" if targets else "to every newer version", indent=2)
    others = (("containerd", upgrade.target.crio), ("cri-o", upgrade.target.containerd))
    if any(version and upgrade.runtime.startswith(name) for name, version in others):
        page.line(f"The node runs {upgrade.runtime}: versions of other runtimes change nothing.", indent=2)
    if not upgrade.steps:
        page.blank()
        page.line("No known change starts or stops anything.", indent=2)
    for component, steps in groupby(upgrade.steps, key=lambda step: step.component):
        page.heading((NAMES[component].upper(), "bold"))
        page.table([_row(step) for step in steps], marked=True)
    page.blank()
    page.line(("A version says less than an attempt: distributions port changes back.", "dim"))
    return str(page)


def _row(step: Step) -> list[Cell]:
    return [
        mark(_STATUS[step.effect]),
        step.version,
        _WORDS[step.effect],
        step.subject,
        [step.why, (step.source, "dim")],
    ]


def _targets(target: Target) -> str:
    named = {
        "Linux": target.kernel,
        "Kubernetes": target.kubernetes,
        "containerd": target.containerd,
        "CRI-O": target.crio,
    }
    return ", ".join(f"{name} {version}" for name, version in named.items() if version)


def render_upgrade_json(upgrade: Upgrade) -> str:
    """The same as JSON."""
    return render_json(upgrade)


def upgrade_words(report: Report) -> str:
    """`Linux 6.3: tmpfs`: what starts to work with newer versions, the lowest of each component; empty for nothing.

    What is nested inside of Pods is left out: it has its own block.
    """
    steps = [
        step
        for step in judge_upgrade(report, Target()).steps
        if step.effect == "starts" and not step.subject.startswith("nested-")
    ]
    words = []
    for component, of_it in groupby(steps, key=lambda step: step.component):
        first = min(of_it, key=lambda step: tuple(map(int, step.version.split("."))))
        subjects = [step.subject for step in steps if (step.component, step.version) == (component, first.version)]
        words.append(f"{NAMES[component]} {first.version}: {', '.join(subjects[:3])}")
    return "; ".join(words)
