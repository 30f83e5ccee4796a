"""Commands that change the kernel's limits of namespaces, and the mounts that it looks at."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from probe.checks.remedies.platforms import quoted
from probe.facts.boot.sysctls import later_name

_ENOUGH = 65_536


_LARGEST_LIMIT = (1 << 31) - 1


def raise_limits(limits: Mapping[str, int | None], winners: Mapping[str, str] | None = None) -> str:
    """The commands for these limits, by sysctl name, each with its value where that is known; never lower than now.

    *winners* has the files that set them at boot by now: the new file is read after those.

    The file's name comes last in the order of sysctl.d(5), in which the last file wins; /etc/sysctl.conf is read after
    all of them by `sysctl --system`, and not at all by systemd-sysctl, which distributions make read it by a link.
    """
    commands = []
    for name, limit in limits.items():
        wanted = min(max((limit or 0) * 2, _ENOUGH), _LARGEST_LIMIT)
        file = quoted(f"/etc/sysctl.d/{later_name(f'99-zz-{name}.conf', (winners or {}).get(name, ''))}")
        commands.append(f"  echo '{name} = {wanted}' > {file} && sysctl -p {file}")
    return "\n".join(
        [
            "Raise the limit, now and at each boot:",
            *commands,
            "If this lists other files, delete the line from them, or a boot sets the old limit again:",
            "  grep -rsE 'max_[a-z]+_namespaces' /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/local/lib/sysctl.d"
            " /usr/lib/sysctl.d /lib/sysctl.d",
        ]
    )


def mount_uncovered(fstypes: Collection[str]) -> str:
    """Commands that mount a second, uncovered /proc or /sys; one such mount lets the kernel allow new ones in Pods."""
    places = [(fstype, f"/run/{fstype}-clean") for fstype in fstypes]
    return "\n".join(
        [
            f"Mount a second, uncovered {' and '.join(fstypes)} in the runtime's mount namespace, at each boot:",
            *(f"  mkdir -p {place} && mount -t {fstype} {fstype} {place}" for fstype, place in places),
            "Do not just unmount the cover: a node that is a container then shows the CPUs and memory of the machine "
            "around it (lxcfs hides them), and removing a mask exposes what it hid.",
        ]
    )
