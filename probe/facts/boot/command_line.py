"""Parameters of the kernel's command line that decide whether Pods get user namespaces."""

from __future__ import annotations

import re
from collections.abc import Sequence

from probe.facts.boot.sysctls import kernel_number

_KNOWN = frozenset(
    (
        "user_namespace.enable",  # EL7
        "systemd.unified_cgroup_hierarchy",
        "systemd.legacy_systemd_cgroup_controller",
        "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE",
        "cgroup_no_v1",
        "apparmor",
        "selinux",
        "enforcing",
        "security",
        "lsm",
    )
)
"""*Source*: Documentation/admin-guide/kernel-parameters.txt; kernel-command-line(7)."""
_SYSCTL = r"sysctl[./](user[./]max_[a-z]{1,10}_namespaces)"
_WORD = r'(?:[^\s"]|"[^"]*"?)+'
_WORDS_LIMIT = 2000
_TRUE, _FALSE = frozenset(("1", "yes", "y", "true", "t", "on")), frozenset(("0", "no", "n", "false", "f", "off"))


def parse_command_line(text: str) -> tuple[str, ...]:
    """Known parameters in their order, each `NAME=VALUE`, without quotes; all others are left out.

    Parameters after `--` are those of process 1, and systemd reads them, too.
    """
    found = []
    words = re.findall(_WORD, text) if '"' in text else text.split()
    for word in words[:_WORDS_LIMIT]:
        name, _, value = word.replace('"', "").partition("=")
        if name in _KNOWN or _sysctl(name):
            found.append(f"{name}={value[:100]}")
    return tuple(found)


def value_of(options: Sequence[str], name: str) -> str | None:
    """Value of the last parameter *name*; None without one."""
    return next((option.partition("=")[2] for option in reversed(options) if option.partition("=")[0] == name), None)


def switch_of(options: Sequence[str], name: str) -> bool | None:
    """The same as a boolean of systemd; a parameter without value is on. None without one, or for another word."""
    value = value_of(options, name)
    if value is None:
        return None
    return True if not value or value.lower() in _TRUE else False if value.lower() in _FALSE else None


def sysctls_of(options: Sequence[str]) -> dict[str, int]:
    """Sysctls that the kernel sets before it starts process 1 (`sysctl.user.max_user_namespaces=0`, since 5.8)."""
    found = {}
    for option in options:
        name, _, value = option.partition("=")
        sysctl, number = _sysctl(name), kernel_number(value)
        if sysctl and number is not None:
            found[sysctl] = number
    return found


def _sysctl(name: str) -> str:
    """Sysctl that a parameter sets, where checks know it; else empty."""
    found = re.fullmatch(_SYSCTL, name) if name.startswith("sysctl") else None
    return found[1].replace("/", ".") if found else ""


def cgroup_version_of(options: Sequence[str]) -> int | None:
    """1 or 2 where the parameters choose; None where systemd's default applies. *Source*: systemd(1)."""
    unified = switch_of(options, "systemd.unified_cgroup_hierarchy")
    if value_of(options, "cgroup_no_v1") == "all":
        return 2
    return None if unified is None else 2 if unified else 1
