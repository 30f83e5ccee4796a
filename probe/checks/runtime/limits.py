"""Checks of quotas and limits that bind the mapped root of a Pod and exempt root of the node."""

from __future__ import annotations

from msgspec.structs import replace

from probe.checks.check import Check, Outcome
from probe.checks.remedies.around import AROUND
from probe.checks.remedies.platforms import restart_kubelet
from probe.checks.runtime.around import (
    daemon_of,
    handler_around,
    is_containerd,
    oci_runtime_of,
    surroundings_of,
    told_by,
    worst,
)
from probe.checks.runtime.names import may_be_stale
from probe.facts.around import Limit
from probe.facts.model import Facts
from probe.finding import Evidence
from probe.reading import Reading

_KEYRINGS = 2
"""Session keyrings of the smallest Pod: one for the sandbox, one for a container."""
_KEYRING_BYTES = 70
"""Bytes of the quota for a session keyring: `_ses.`, 64 digits and a zero byte.

*Source*: runc, `GetSessionRingParams`; security/keys/key.c, quotalen.
"""
_KEYRINGS_OF_MANY = 20
_TOO_FEW_PROCESSES = {"runc": 5, "crun": 2}
"""Each failed with that limit; crun runs with 3, runc with 8."""
_TOO_FEW_FILES = 32
"""containerd 2.1.9 starts no Pod with that limit, and does with 40."""
_SMALL_FILES = 1 << 20
"""Bytes: the database in which containerd notes each container soon gets larger than that, and so do most images."""
_LARGE_FILES = 10 << 30
_FEW_FILES = 1024
_FEW_PROCESSES = 4096
_TOO_SMALL_STACK = 16 << 10
"""Bytes with which shims of containerd 2.1.9 crash."""
_SMALL_STACK = 64 << 10
_MEMORY = (
    ("RLIMIT_AS", "Max address space", 700 << 20, 1500 << 20, 2 << 30),
    ("RLIMIT_DATA", "Max data size", 64 << 20, 127 << 20, 256 << 20),
)
"""Bytes with which no shim of containerd 1.6, 1.7 and 2.1 started; with which one of them, or containerd 2.1.9, failed
at times; and with which Pods ran."""
_TOO_FEW_PIDS = 8
"""Processes: a shim of containerd has more threads than this."""
_TOO_FEW_IN_PODS = {"runc": 4, "crun": 2}
"""Processes and threads with which the OCI runtime itself enters the cgroup of a container."""
_FEW_PIDS = 100
_END_SOME = (
    "End Pods that have too many processes, or leave more to Pods: lower pid in systemReserved and kubeReserved of the "
    "kubelet's configuration, or raise kernel.pid_max:\n"
    "  grep -H . /sys/fs/cgroup/kubepods*/pids.{max,current} /sys/fs/cgroup/pids/kubepods*/pids.{max,current}"
)
_UNLIMITED = Limit(-1, -1)
_SYS_RESOURCE = 24
_SANDBOX_OOM_SCORE = -998
"""*Source*: Kubernetes, pkg/kubelet/qos, and containerd's defaultSandboxOOMAdj."""


def check_keys(facts: Facts, handler: str) -> Outcome:
    """Fail when the quota of keys is too small for the session keyrings that runc makes as a Pod's mapped root."""
    around, what = surroundings_of(facts), "the quota of keyrings"
    if around.value is None:
        return Outcome.not_read(what, around)
    oci, own = oci_runtime_of(facts, handler), handler_around(facts, handler)
    if oci == "crun" or (own and own.no_new_keyring):
        return Outcome.skipped("no keyring is made for containers of this handler", told_by(facts))
    keys = around.value.keys
    if keys.count.kind == "absent":
        return Outcome.skipped("this kernel has no keyrings", keys.count)
    count, size = keys.count.value, keys.size.value
    if count is None or size is None:
        return Outcome.not_read(what, keys.count if count is None else keys.size)
    fits = min(count, size // _KEYRING_BYTES)
    seen = (keys.count, keys.size)
    if fits >= _KEYRINGS_OF_MANY:
        return Outcome.passed(f"each UID may have {fits} session keyrings", *seen)
    message = f"each UID may have {fits} session keyrings, and runc makes one for each container of a Pod"
    if fits < _KEYRINGS and oci == "runc" and is_containerd(facts):
        return Outcome.fail("KeyringQuotaTooSmall", f"{message}, at least {_KEYRINGS}", *seen)
    if fits < _KEYRINGS and not oci:
        return Outcome.unknown("not-readable", f"{message}; which OCI runtime this handler runs is unknown", *seen)
    return Outcome.warn(message, *seen)


def check_files(facts: Facts) -> Outcome:
    """The daemon needs some files for each Pod, and hands its limit on to what it starts."""
    limits = daemon_of(facts).then(lambda daemon: daemon.limits)
    limit = limits.value.get("RLIMIT_NOFILE") if limits.value else None
    if limit is None:
        return Outcome.not_read("how many files the runtime may open", _missing(limits))
    seen = _told("Max open files", limit, limits.source)
    if not 0 <= limit.soft < _FEW_FILES:
        return Outcome.passed("no limit of open files is near", seen)
    message = f"the runtime may open {limit.soft} files"
    if limit.soft <= _TOO_FEW_FILES and is_containerd(facts):
        return Outcome.fail("OpenFilesLimitTooSmall", f"{message}, too few to start a Pod", seen)
    return Outcome.warn(f"{message} only, and needs some for each container", seen)


def check_file_size(facts: Facts) -> Outcome:
    """RLIMIT_FSIZE binds root, too: with EFBIG neither the daemon's database nor a layer grows beyond it."""
    limits = daemon_of(facts).then(lambda daemon: daemon.limits)
    if limits.value is None:
        return Outcome.not_read("how large the files of the runtime may get", limits)
    limit = limits.value.get("RLIMIT_FSIZE", _UNLIMITED)
    seen = _told("Max file size", limit, limits.source)
    if not 0 <= limit.soft < _LARGE_FILES:
        return Outcome.passed("no limit of the size of files is near", seen)
    message = f"the runtime may write no file beyond {limit.soft} bytes"
    if limit.soft <= _SMALL_FILES and is_containerd(facts):
        return Outcome.fail("FileSizeLimitTooSmall", f"{message}, which its own database is", seen)
    return Outcome.warn(f"{message}, which larger images have", seen)


def check_stack(facts: Facts) -> Outcome:
    """RLIMIT_STACK binds root, too: shims and OCI runtimes that outgrow it end with SIGSEGV."""
    limits = daemon_of(facts).then(lambda daemon: daemon.limits)
    if limits.value is None:
        return Outcome.not_read("how large the stacks of shims may get", limits)
    limit = limits.value.get("RLIMIT_STACK", _UNLIMITED)
    seen = _told("Max stack size", limit, limits.source)
    if not 0 <= limit.soft < _SMALL_STACK:
        return Outcome.passed("no limit of the size of stacks is near", seen)
    message = f"the runtime hands on a limit of {limit.soft} bytes to the stack of each process"
    if limit.soft <= _TOO_SMALL_STACK and is_containerd(facts):
        return Outcome.fail("StackLimitTooSmall", f"{message}, with which shims crash", seen)
    return Outcome.warn(f"{message}, with which shims may crash", seen)


def check_memory(facts: Facts) -> Outcome:
    """RLIMIT_AS and RLIMIT_DATA bind root, too: below them no Go program starts, such as containerd's shim and runc."""
    limits = daemon_of(facts).then(lambda daemon: daemon.limits)
    if limits.value is None:
        return Outcome.not_read("how much memory shims may map", limits)
    doubt = scarce = None
    for name, words, too_small, unsure, small in _MEMORY:
        limit = limits.value.get(name, _UNLIMITED)
        seen = _told(words, limit, limits.source)
        message = f"the runtime hands on {name} of {limit.soft} bytes to each process"
        if 0 <= limit.soft <= too_small and is_containerd(facts):
            return Outcome.fail("MemoryLimitTooSmall", f"{message}, with which no shim starts", seen)
        if 0 <= limit.soft <= unsure and is_containerd(facts):
            unknown = Outcome.unknown("not-tried", f"{message}; whether shims start with that is unknown", seen)
            doubt = doubt or replace(unknown, decides=True)
        if 0 <= limit.soft < small:
            scarce = scarce or Outcome.warn(f"{message}, with which shims may crash", seen)
    return (
        doubt or scarce or Outcome.passed("no limit of memory is near", Evidence(limits.source, "address space, data"))
    )


def _told(name: str, limit: Limit, source: str) -> Evidence:
    """A soft limit as /proc/PID/limits prints it."""
    return Evidence(source, f"{name} {'unlimited' if limit.soft < 0 else limit.soft}")


def _missing(limits: Reading[dict[str, Limit]]) -> Reading[dict[str, Limit]]:
    return limits if limits.value is None else Reading.without(limits.source, "not-readable", "lacks a limit")


def check_processes(facts: Facts, handler: str) -> Outcome:
    """RLIMIT_NPROC binds every UID but the node's root, so Pods with a user namespace only."""
    around, daemon = surroundings_of(facts), daemon_of(facts)
    if daemon.value is None:
        return Outcome.not_read("how many processes the runtime may start", daemon)
    limits, left = daemon.value.limits, daemon.value.pids_left
    if left.value is not None and left.value < _TOO_FEW_PIDS:
        message = f"the runtime's cgroup may get {max(left.value, 0)} more processes, fewer than one shim has threads"
        return Outcome.fail("ProcessLimitTooSmall", message, left)
    few = _TOO_FEW_IN_PODS.get(oci_runtime_of(facts, handler), 0)
    pods = around.value.pods_left if around.value else left
    if pods.value is not None and pods.value < few:
        message = f"the cgroup of all Pods may get {max(pods.value, 0)} more processes, too few for one to start"
        full = Outcome.fail("ProcessLimitTooSmall", message, pods, remediation=_END_SOME)
        return replace(full, stands=True)  # a trial has its own cgroup
    if scarce := _pod_pids_limit(facts, few):
        return scarce
    limit = limits.value.get("RLIMIT_NPROC") if limits.value else None
    if limit is None:
        return Outcome.not_read("how many processes the runtime may start", _missing(limits))
    seen = _told("Max processes", limit, limits.source)
    if 0 <= limit.soft <= _TOO_FEW_PROCESSES.get(oci_runtime_of(facts, handler), 0):
        message = f"the runtime hands on a limit of {limit.soft} processes to each UID of a Pod, too few"
        return Outcome.fail("ProcessLimitTooSmall", message, seen)
    if 0 <= limit.soft < _FEW_PROCESSES:
        message = f"the runtime hands on a limit of {limit.soft} processes to each UID of a Pod, and to no other Pod"
        return Outcome.warn(message, seen)
    if left.value is not None and left.value < _FEW_PIDS:
        return Outcome.warn(f"the runtime's cgroup may get {left.value} more processes only", left, seen)
    if left.value is None and left.kind != "absent":
        return Outcome.not_read("how many processes the runtime's cgroup may get", left, seen)
    return Outcome.passed("no limit of processes is near", seen)


def _pod_pids_limit(facts: Facts, few: int) -> Outcome | None:
    """Outcome of a podPidsLimit below *few* processes, which binds no Pod of a trial; None for any other."""
    own = facts.kubelet.value.pod_pids_limit if facts.kubelet.value else None
    if not own or not 0 < (own.value or 0) < few:
        return None
    message = f"the kubelet leaves {own.value} processes to each Pod (podPidsLimit), too few for one to start"
    if stale := may_be_stale(facts, own):
        doubt = f"{message}; whether that is in force is unknown: {stale} changed since it started"
        return replace(Outcome.unknown("not-readable", doubt, own), decides=True, stands=True)
    remediation = f"Raise podPidsLimit of the kubelet's configuration, or remove it, then:\n{restart_kubelet(facts)}"
    return replace(Outcome.fail("ProcessLimitTooSmall", message, own, remediation=remediation), stands=True)


def check_oom_score(facts: Facts) -> Outcome:
    """Fail when containerd lacks CAP_SYS_RESOURCE, which it needs to lower oom_score_adj of each sandbox."""
    around, daemon = surroundings_of(facts), daemon_of(facts)
    what = "whether the runtime may lower oom_score_adj"
    if around.value is None or daemon.value is None:
        return Outcome.not_read(what, around if around.value is None else daemon)
    if not is_containerd(facts):
        return Outcome.skipped("only containerd sets oom_score_adj of sandboxes", told_by(facts))
    capabilities, score, restricts = (
        daemon.value.effective_capabilities,
        daemon.value.oom_score_adj,
        around.value.restricts_oom_score,
    )
    if capabilities.value is None:
        return Outcome.not_read(what, capabilities)
    held = Evidence(capabilities.source, f"CapEff {capabilities.value:016x}")
    if capabilities.value >> _SYS_RESOURCE & 1:
        return Outcome.passed("containerd may lower oom_score_adj", held)
    for reading in (restricts, score):
        if reading.value is None:
            return Outcome.not_read(what, reading, held)
    if restricts.value:
        return Outcome.passed("containerd asks for no lower oom_score_adj than its own", held, restricts)
    if score.value is not None and score.value <= _SANDBOX_OOM_SCORE:
        return Outcome.passed("containerd's own oom_score_adj is as low as a sandbox's", held, score)
    message = (
        f"containerd runs without CAP_SYS_RESOURCE, so it may not lower oom_score_adj to {_SANDBOX_OOM_SCORE}, "
        "as it does for each Pod"
    )
    return Outcome.fail("OomScoreRefused", message, held, restricts, score)


def check_limits(facts: Facts, handler: str) -> Outcome:
    """The most serious outcome of the checks of keyrings, processes, open files and oom_score_adj."""
    return worst(
        {
            "KeyringQuotaTooSmall": check_keys(facts, handler),
            "ProcessLimitTooSmall": check_processes(facts, handler),
            "OpenFilesLimitTooSmall": check_files(facts),
            "FileSizeLimitTooSmall": check_file_size(facts),
            "StackLimitTooSmall": check_stack(facts),
            "MemoryLimitTooSmall": check_memory(facts),
            "OomScoreRefused": check_oom_score(facts),
        }
    )


CHECKS = (
    Check(
        id="runtime-limits",
        level="stateless",
        gating=False,
        question="Do quotas and limits leave Pods the keyrings and processes that they need?",
        why="RLIMIT_NPROC of the runtime and the quota of keyrings bind each UID but the node's root: low ones stop "
        "Pods with a user namespace, and no others. pids.max of its cgroup, too few open files, or an oom_score_adj "
        "that it may not lower without CAP_SYS_RESOURCE, stop every Pod, and so does a small RLIMIT_FSIZE, "
        "RLIMIT_STACK, RLIMIT_AS or RLIMIT_DATA.",
        reasons=(
            "KeyringQuotaTooSmall",
            "ProcessLimitTooSmall",
            "OpenFilesLimitTooSmall",
            "FileSizeLimitTooSmall",
            "StackLimitTooSmall",
            "MemoryLimitTooSmall",
            "OomScoreRefused",
        ),
        remediation=AROUND["runtime-limits"],
        documentation="keyrings(7), getrlimit(2), proc_pid_oom_score_adj(5), capabilities(7); cgroup-v2, PID",
        check=lambda facts: check_limits(facts, ""),
        per_handler=check_limits,
    ),
)
