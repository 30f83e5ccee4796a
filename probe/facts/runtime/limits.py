"""Resource limits: of a process, as proc_pid_limits(5) prints them, and as CRI-O is configured with them."""

from __future__ import annotations

import re

from probe.facts.around import Limit

_NAMES = {
    "Max address space": "RLIMIT_AS",
    "Max core file size": "RLIMIT_CORE",
    "Max cpu time": "RLIMIT_CPU",
    "Max data size": "RLIMIT_DATA",
    "Max file locks": "RLIMIT_LOCKS",
    "Max file size": "RLIMIT_FSIZE",
    "Max locked memory": "RLIMIT_MEMLOCK",
    "Max msgqueue size": "RLIMIT_MSGQUEUE",
    "Max nice priority": "RLIMIT_NICE",
    "Max open files": "RLIMIT_NOFILE",
    "Max pending signals": "RLIMIT_SIGPENDING",
    "Max processes": "RLIMIT_NPROC",
    "Max realtime priority": "RLIMIT_RTPRIO",
    "Max realtime timeout": "RLIMIT_RTTIME",
    "Max resident set": "RLIMIT_RSS",
    "Max stack size": "RLIMIT_STACK",
}
NAMES = frozenset(_NAMES.values())
"""All limits of Linux. *Source*: getrlimit(2)."""
PIDS = "pids.limit"
"""The limit of processes of a container's cgroup, in addition to those of getrlimit(2)."""
INFINITY = (1 << 64) - 1
"""RLIM_INFINITY, as a specification spells it."""

_LINE = re.compile(r"^(Max [a-z ]+?) {2,}(unlimited|\d{1,20}) +(unlimited|\d{1,20})(?: |$)", re.MULTILINE)
_ULIMIT = re.compile(r"([a-z]{1,20})=(-1|\d{1,20})(?::(-1|\d{1,20}))?", re.ASCII)


def parse_limits(text: str) -> dict[str, Limit]:
    """/proc/PID/limits by the names of getrlimit(2). *Errors*: ValueError without any of them."""
    rows = _LINE.findall(text)
    found = {_NAMES[name]: Limit(_number(soft), _number(hard)) for name, soft, hard in rows if name in _NAMES}
    if not found:
        raise ValueError("tells no limit")
    return found


def parse_ulimit(text: str) -> tuple[str, Limit]:
    """`nofile=1024:2048`, as crio.conf(5) has it. *Errors*: ValueError."""
    found = _ULIMIT.fullmatch(text.strip())
    if not found:
        raise ValueError(f"not a limit: {text[:60]!r}")
    return f"RLIMIT_{found[1].upper()}", Limit(_number(found[2]), _number(found[3] or found[2]))


def _number(text: str) -> int:
    number = -1 if text == "unlimited" else int(text)
    return number if number < INFINITY else -1
