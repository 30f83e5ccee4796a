"""Every step of an upgrade, in the order of the stack."""

from __future__ import annotations

from msgspec import Struct

from probe.checks.upgrades.kernel import kernel_steps
from probe.checks.upgrades.model import Step, Target
from probe.checks.upgrades.programs import kubernetes_steps, runtime_steps
from probe.report import Report


class Upgrade(Struct, frozen=True, kw_only=True):
    """Changes that other versions bring to one node."""

    kernel: str
    """Release of the node now; empty where it is not known, like the next ones."""
    kubernetes: str
    runtime: str
    target: Target
    steps: tuple[Step, ...]


def judge_upgrade(report: Report, target: Target) -> Upgrade:
    """Steps to *target*; of a target without any version, those of all newer versions."""
    everything = target == Target()
    steps: list[Step] = []
    if everything or target.kernel:
        steps += kernel_steps(report, target.kernel)
    if everything or target.kubernetes:
        steps += kubernetes_steps(report, target.kubernetes)
    if everything or target.containerd or target.crio:
        steps += runtime_steps(report, target)
    facts = report.facts
    runtime = " ".join(filter(None, (facts.runtime_name, facts.runtime_version)))
    return Upgrade(
        kernel=facts.kernel_release,
        kubernetes=facts.kubelet_version,
        runtime=runtime,
        target=target,
        steps=tuple(steps),
    )
