"""Every forecast, and the block of the Report made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from probe.checks.forecasts.boot import plan_boot
from probe.checks.forecasts.plan import Plan, forecast_event
from probe.checks.forecasts.restart import plan_restart
from probe.facts.model import Facts
from probe.finding import Finding
from probe.forecast import EventForecast


class ForecastCheck(Struct, frozen=True, kw_only=True):
    """Declaration of a forecast, printed by `userns-probe explain`."""

    id: str
    question: str
    why: str
    """Consequence of a turn for the worse."""
    remediation: str
    documentation: str
    plan: Callable[[Facts], Plan]


CHECKS: tuple[ForecastCheck, ...] = (
    ForecastCheck(
        id="forecast-boot",
        question="Will Pods with a user namespace run after the next boot as they do now?",
        why="Files that changed since the node booted take effect at the next boot: sysctl files, /etc/fstab, the boot "
        "loader's kernel and command line. A setting made by hand is lost. Kubelet and runtime restart, too.",
        remediation="Correct what the evidence names before the node reboots:\n"
        "  systemd-analyze cat-config sysctl.d | grep namespaces; findmnt --verify; ls /boot",
        documentation="sysctl.d(5), fstab(5), kernel-command-line(7); Boot Loader Specification; GRUB manual",
        plan=plan_boot,
    ),
    ForecastCheck(
        id="forecast-runtime-restart",
        question="Will Pods with a user namespace run after the container runtime restarts as they do now?",
        why="containerd and CRI-O read their configuration, and the features of their OCI runtimes, when they start. A "
        "package that was upgraded or a file that was edited since takes effect at their next restart.",
        remediation="Compare what is configured with what is in force before the runtime restarts:\n"
        "  containerd config dump || crio config; containerd --version; runc --version",
        documentation="containerd-config.toml(5), crio.conf(5); OCI runtime specification, features.md",
        plan=plan_restart,
    ),
)


def find(check_id: str) -> ForecastCheck | None:
    """The forecast of that id."""
    return next((check for check in CHECKS if check.id == check_id), None)


def forecast_events(facts: Facts, findings: Sequence[Finding]) -> tuple[EventForecast, ...]:
    """One forecast per event; *findings* are those of today. Where no kubelet names a runtime, none restarts."""
    checks = CHECKS if facts.runtime.value or facts.kubelet.kind != "absent" else CHECKS[:1]
    return tuple(forecast_event(facts, findings, check.plan(facts)) for check in checks)
