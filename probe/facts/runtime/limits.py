"""Resource limits: of a process in proc_pid_limits(5), of containers in CRI-O's configuration, and of cgroups."""

from __future__ import annotations

import re
from collections.abc import Sequence

from probe.facts.around import Limit
from probe.host.host import Host
from probe.reading import Reading, problem_of

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
_CGROUPS = "/sys/fs/cgroup"
_MAX_CGROUPS = 20
_OF_ALL_PODS = ("kubepods", "kubepods.slice")
"""The cgroup of all Pods, by either driver. *Source*: kubelet, pkg/kubelet/cm."""
_KUBEPODS = tuple(f"{_CGROUPS}/{name}" for name in _OF_ALL_PODS)
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


def gather_cgroups_full(host: Host) -> Reading[bool]:
    """True when no cgroup can be made for a further Pod; absent where nothing limits their number.

    *Source*: Documentation/admin-guide/cgroup-v2.rst, cgroup.max.descendants and cgroup.max.depth, which is `max`
    without a limit.
    """
    limits: list[Reading[bool]] = []
    for directory in (_CGROUPS, *_KUBEPODS):
        most = host.read_text(f"{directory}/cgroup.max.descendants").parse(int)
        if most.value is not None:
            now = host.read_text(f"{directory}/cgroup.stat").parse(_parse_descendants)
            limits += [] if now.value is None else [Reading(most.source, now.value >= most.value)]
        depth = host.read_text(f"{directory}/cgroup.max.depth").parse(int)
        limits += [] if depth.value is None else [Reading(depth.source, depth.value == 0)]
    nothing: Reading[bool] = Reading.without(_CGROUPS, "absent", "nothing limits the number of cgroups")
    return next((one for one in limits if one.value), limits[0] if limits else nothing)


def gather_frozen(host: Host) -> Reading[bool]:
    """True when the kubelet's cgroup of all Pods is frozen; absent on cgroup v1."""
    switches = [host.read_text(f"{directory}/cgroup.freeze").parse(int).parse(bool) for directory in _KUBEPODS]
    return next((one for one in switches if one.value is not None), switches[0])


def _parse_descendants(text: str) -> int:
    """*Errors*: ValueError for text without that number."""
    fields = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    return int(fields.get("nr_descendants", ""))


def gather_pids_left(host: Host, pid: int) -> Reading[int]:
    """Number of further processes that the cgroup of process *pid* allows, and those above; absent without a limit."""
    cgroup = host.read_text(f"/proc/{pid}/cgroup")
    if cgroup.value is None:
        return problem_of(cgroup)
    return _least_left(host, cgroup.source, parse_pids_cgroup(cgroup.value))


def gather_pods_left(host: Host) -> Reading[int]:
    """Number of further processes that the cgroup of all Pods allows; absent without a limit."""
    roots = (f"{_CGROUPS}/pids", _CGROUPS)
    return _least_left(host, _CGROUPS, [f"{root}/{name}" for root in roots for name in _OF_ALL_PODS])


def _least_left(host: Host, source: str, places: Sequence[str]) -> Reading[int]:
    left: list[tuple[int, str]] = []
    for directory in places:
        limit, now = (host.read_text(f"{directory}/pids.{name}").parse(int) for name in ("max", "current"))
        if limit.value is not None and now.value is not None:  # `max` is not a number
            left.append((limit.value - now.value, limit.source))
    if not left:
        return Reading.without(source, "absent", "no cgroup limits its processes")
    least, limit_file = min(left)
    return Reading(limit_file, least)


def parse_pids_cgroup(text: str) -> list[str]:
    """The directories of the cgroup that counts processes and of its ancestors, innermost first.

    Empty for a cgroup of another cgroup namespace. *Source*: cgroups(7).
    """
    for line in text.split("\n"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if "pids" in controllers.split(",") or line.startswith("0::"):
            root = f"{_CGROUPS}/pids" if controllers else _CGROUPS
            names: Sequence[str] = [name for name in path.split("/") if name]
            if ".." in names:  # of another cgroup namespace
                return []
            return [f"{root}/{'/'.join(names[:end])}" for end in range(len(names), 0, -1)][:_MAX_CGROUPS]
    return []
