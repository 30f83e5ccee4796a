"""Limits of getrlimit(2): those of the daemon that bind root, too, and those that are set in each container."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from probe.checks.check import Outcome
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import SYS_RESOURCE, daemon_of, is_containerd
from probe.checks.runtime.refusals import Refusal
from probe.facts.around import Limit
from probe.facts.model import Facts
from probe.facts.runtime.limits import NAMES, PIDS
from probe.finding import Evidence
from probe.reading import Reading, problem_of

_MEMORY = (
    ("RLIMIT_AS", "Max address space", 700 << 20, 1500 << 20, 2 << 30),
    ("RLIMIT_DATA", "Max data size", 64 << 20, 127 << 20, 256 << 20),
)
"""Bytes with which no shim of containerd 1.6, 1.7 and 2.1 started; with which one of them, or containerd 2.1.9, failed
at times; and with which Pods ran."""
OPEN_FILES = "RLIMIT_NOFILE"
_TOO_FEW_FILES = {"runc": 20, "crun": 8}
"""runc 1.3.6 keeps one file open for each idmapped mount: it needs 16 more than those, of which each Pod has five, for
hosts, termination log, hostname, resolv.conf and shm. Beside eight of the kubelet's 24 were too few, and 28 enough.
crun 1.28 failed with 8."""
CPU_TIME = "RLIMIT_CPU"
"""With a limit of 0 the kernel kills a process at its first tick: crun always lived until then, runc at times.

*Source*: setrlimit(2); kernel/time/posix-cpu-timers.c.
"""
_TOO_SMALL = {"RLIMIT_STACK": 8 << 10, "RLIMIT_AS": 1 << 20, "RLIMIT_DATA": 0}
"""Bytes with which no program of a Pod ran, with either OCI runtime."""
_TOO_FEW_PROCESSES = 2
"""RLIMIT_NPROC counts the processes of the Pod's UID: root of the node is exempt, and a Pod's own root is not."""


class SoftLimit(Struct, frozen=True, kw_only=True):
    """A limit that binds root, too, from getrlimit(2)."""

    name: str
    printed: str
    """As proc_pid_limits(5) calls it."""
    subject: str
    question: str
    words: str
    """What it leaves to the runtime, with a place for its number."""
    reason: str
    too_small: int
    """The largest with which containerd starts no Pod."""
    stops: str
    small: int
    """The smallest with which nothing is known to fail."""
    slows: str


SOFT_LIMITS = (
    SoftLimit(
        name="RLIMIT_NOFILE",
        printed="Max open files",
        subject="open files",
        question="how many files the runtime may open",
        words="the runtime may open {} files",
        reason="OpenFilesLimitTooSmall",
        too_small=32,  # containerd 2.1.9 starts no Pod with that limit, and does with 40
        stops="too few to start a Pod",
        small=1024,
        slows=", and it needs several for each container",
    ),
    SoftLimit(
        name="RLIMIT_FSIZE",
        printed="Max file size",
        subject="the size of files",
        question="how large the files of the runtime may get",
        words="the runtime may not write files beyond {} bytes",
        reason="FileSizeLimitTooSmall",
        too_small=1 << 20,  # the database in which containerd notes each container soon gets larger
        stops="and its own database is larger",
        small=10 << 30,
        slows=", and some images have larger ones",
    ),
    SoftLimit(
        name="RLIMIT_STACK",
        printed="Max stack size",
        subject="the size of stacks",
        question="how large the stacks of shims may get",
        words="each process that the runtime starts gets a stack of {} bytes",
        reason="StackLimitTooSmall",
        too_small=16 << 10,  # shims of containerd 2.1.9 end with SIGSEGV
        stops="so shims crash",
        small=64 << 10,
        slows=", so shims may crash",
    ),
)


def judge_soft_limit(facts: Facts, row: SoftLimit) -> Outcome:
    """Outcome for one of SOFT_LIMITS, which the daemon hands on to all that it starts."""
    limit = limit_of(facts, row.name)
    if limit.value is None:
        return Outcome.not_read(row.question, limit)
    soft, seen = limit.value.soft, told(row.printed, limit.value, limit.source)
    if not 0 <= soft < row.small:
        return Outcome.passed(f"the limit on {row.subject} is high enough", seen)
    if soft <= row.too_small and is_containerd(facts):
        return Outcome.fail(row.reason, f"{row.words.format(soft)}, {row.stops}", seen)
    return Outcome.warn(f"{row.words.format(soft)}{row.slows}", seen)


def check_memory(facts: Facts) -> Outcome:
    """RLIMIT_AS and RLIMIT_DATA bind root, too: below them no Go program starts, such as containerd's shim and runc."""
    doubt = scarce = None
    for name, words, too_small, unsure, small in _MEMORY:
        found = limit_of(facts, name)
        if found.value is None:
            return Outcome.not_read("how much memory shims may map", found)
        limit, seen = found.value, told(words, found.value, found.source)
        message = f"each process that the runtime starts gets {name} {limit.soft} bytes"
        if 0 <= limit.soft <= too_small and is_containerd(facts):
            return Outcome.fail("MemoryLimitTooSmall", f"{message}, so no shim starts", seen)
        if 0 <= limit.soft <= unsure and is_containerd(facts):
            unknown = Outcome.unknown("not-tried", f"{message}; unknown whether shims start with that", seen)
            doubt = doubt or replace(unknown, decides=True)
        if 0 <= limit.soft < small:
            scarce = scarce or Outcome.warn(f"{message}, so shims may crash", seen)
    return (
        doubt
        or scarce
        or Outcome.passed("the limits on memory are high enough", Evidence(found.source, "address space, data"))
    )


def told(name: str, limit: Limit, source: str) -> Evidence:
    """A soft limit as /proc/PID/limits prints it."""
    return Evidence(source, f"{name} {'unlimited' if limit.soft < 0 else limit.soft}")


def limit_of(facts: Facts, name: str) -> Reading[Limit]:
    """The limit of that name on the runtime's daemon."""
    limits = daemon_of(facts).then(lambda daemon: daemon.limits)
    if limits.value is None:
        return problem_of(limits)
    found = limits.value.get(name)
    return Reading(limits.source, found) if found else Reading.without(limits.source, "not-readable", f"lacks {name}")


def refused_limit(
    name: str,
    limit: Limit,
    daemon: dict[str, Limit],
    capabilities: int,
    open_files: int,
    source: str,
    oci_runtime: str,
) -> Refusal | None:
    """A limit that cannot be set, or with which nothing runs.

    *daemon* has the limits of the runtime, without CAP_SYS_RESOURCE the highest that it may set; *open_files* is
    `fs.nr_open`. *Source*: getrlimit(2), EINVAL and EPERM.
    """
    soft, hard = _finite(limit.soft), _finite(limit.hard)
    seen = (Evidence(source, f"{name} {limit.soft}:{limit.hard}"),)
    what = f"the limit {inline(name)}, which is set in each container,"
    if name == PIDS:
        few = f"{what} is {limit.soft}, so nothing in a container can fork"
        return Refusal("LimitTooSmall", few, seen) if soft < _TOO_FEW_PROCESSES else None
    if name not in NAMES:
        return Refusal("LimitRefused", f"{what} does not exist in Linux", seen)
    if soft > hard:
        return Refusal("LimitRefused", f"{what} is refused: its soft limit is above the hard one", seen)
    if name == OPEN_FILES and hard > open_files:
        more = Evidence("/proc/sys/fs/nr_open", str(open_files))
        return Refusal("LimitRefused", f"{what} is refused: it is above fs.nr_open", (*seen, more))
    own = daemon.get(name)
    if own and hard > _finite(own.hard) and not capabilities >> SYS_RESOURCE & 1:
        more = Evidence("the runtime's own limit", f"{own.hard}, CapEff {capabilities:016x}")
        message = f"{what} is above that of the runtime, which may not raise it without CAP_SYS_RESOURCE"
        return Refusal("LimitRefused", message, (*seen, more))
    if soft == 0 and (name == "RLIMIT_FSIZE" or (name == CPU_TIME and oci_runtime == "crun")):
        return Refusal("LimitTooSmall", f"{what} is 0: no program runs with it", seen)
    if soft <= _TOO_SMALL.get(name, -1):
        return Refusal("LimitTooSmall", f"{what} is {limit.soft} bytes, too few for any program of a Pod", seen)
    if name == "RLIMIT_NPROC" and soft <= _TOO_FEW_PROCESSES:
        message = f"{what} is {limit.soft}, too few for a Pod and its pause program"
        return Refusal("LimitTooSmall", message, seen)
    if name == OPEN_FILES and soft <= _TOO_FEW_FILES.get(oci_runtime, -1):
        return Refusal("LimitTooSmall", f"{what} is {soft} open files, too few to start a container", seen)
    return None


def _finite(number: int) -> float:
    return float("inf") if number < 0 else number
