"""Version of cgroups after the next boot, as its command line chooses it."""

from __future__ import annotations

from msgspec.structs import replace

from probe.facts.boot.command_line import cgroup_version_of, switch_of
from probe.facts.boot.model import BootFacts
from probe.facts.model import KernelFacts, MountFacts

_HIERARCHIES = ("cpu", "cpuset", "devices", "memory", "pids")
"""Controllers of cgroup v1 that every distribution's kernel has and systemd mounts."""
_REFUSES_CGROUP_V1, _WITHOUT_CGROUP_V1 = 256, 258
FORCE = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE"


def cgroup_version_after(boot: BootFacts) -> int | None:
    """Version of cgroups that the command line newly chooses; None where the present one stays, or is not chosen.

    *Source*: systemd NEWS: 256 refuses cgroup v1 unless it is forced, 258 is without it.
    """
    chosen = cgroup_version_of(options_of(boot))
    if chosen == cgroup_version_of(boot.running_options.value or ()):
        return None  # systemd makes of the same what it made of it before
    lost = (boot.systemd.value or 0) >= _WITHOUT_CGROUP_V1 or refuses_cgroup_v1(boot)
    return None if chosen == 1 and lost else chosen


def refuses_cgroup_v1(boot: BootFacts) -> bool:
    """True for a systemd that does not boot with the cgroup v1 that the command line asks for."""
    refuses = _REFUSES_CGROUP_V1 <= (boot.systemd.value or 0) < _WITHOUT_CGROUP_V1
    return refuses and cgroup_version_of(options_of(boot)) == 1 and not switch_of(options_of(boot), FORCE)


def cgroups_after(mounts: MountFacts, kernel: KernelFacts, version: int | None) -> MountFacts:
    """*mounts* with the hierarchies that systemd mounts for that *version* of cgroups."""
    if version is None or version == kernel.cgroup_version.value:
        return mounts
    if version == 2:
        return replace(mounts, cgroup2_options=(), cgroup_controllers=())
    return replace(mounts, cgroup2_options=None, cgroup_controllers=_HIERARCHIES)


def options_of(boot: BootFacts) -> tuple[str, ...]:
    """Parameters of the next command line; empty where they are not known."""
    return (boot.entry.value.options if boot.entry.value else None) or ()
