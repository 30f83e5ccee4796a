"""Checks of quotas and limits that bind the mapped root of a Pod and exempt root of the node."""

from __future__ import annotations

from msgspec.structs import replace

from probe.checks.check import Check, Outcome
from probe.checks.remedies.around import AROUND
from probe.checks.remedies.platforms import restart_kubelet
from probe.checks.runtime.around import (
    SYS_RESOURCE,
    daemon_of,
    handler_around,
    is_containerd,
    oci_runtime_of,
    of_containerd_alone,
    surroundings_of,
    told_by,
    worst,
)
from probe.checks.runtime.names import may_be_stale
from probe.checks.runtime.soft_limits import SOFT_LIMITS, check_memory, judge_soft_limit, limit_of, told
from probe.facts.model import Facts
from probe.finding import Evidence
from probe.reading import problem_of

_KEYRINGS = 2
"""Session keyrings of the smallest Pod: one for the sandbox, one for a container."""
_KEYRING_BYTES = 70
"""Bytes of the quota for a session keyring: `_ses.`, 64 digits and a zero byte.

*Source*: runc, `GetSessionRingParams`; security/keys/key.c, quotalen.
"""
_KEYRINGS_OF_MANY = 20
_TOO_FEW_PROCESSES = {"runc": 5, "crun": 2}
"""Each failed with that limit; crun runs with 3, runc with 8."""
_FEW_PROCESSES = 4096
_FEW_FILES = 1024
_PIPE_PAGES = 16
_FEW_PIPE_PAGES = 1024
"""Pages of 64 pipes."""
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
        return Outcome.passed(f"the quota allows each UID {fits} session keyrings", *seen)
    message = f"the quota allows each UID {fits} session keyrings, and runc makes one for each container of a Pod"
    if fits < _KEYRINGS and oci == "runc" and is_containerd(facts):
        return Outcome.fail("KeyringQuotaTooSmall", f"{message}, at least {_KEYRINGS}", *seen)
    if fits < _KEYRINGS and not oci:
        return Outcome.unknown("not-readable", f"{message}; unknown which OCI runtime this handler runs", *seen)
    return Outcome.warn(message, *seen)


def check_file_table(facts: Facts) -> Outcome:
    """Whoever has CAP_SYS_ADMIN of the node may exceed fs.file-max; a Pod's own root gets ENFILE.

    *Source*: fs/file_table.c, alloc_empty_file.
    """
    around = surroundings_of(facts)
    left = around.value.files_left if around.value else problem_of(around)
    if left.kind == "absent":
        return Outcome.skipped("this node does not tell how many files it may open", left)
    if left.value is None:
        return Outcome.not_read("how many files the node may open", left)
    if left.value >= _FEW_FILES:
        # Not the number itself, which differs at each probe.
        return Outcome.passed("the node may open more files", Evidence(left.source, f"{_FEW_FILES} or more left"))
    message = f"all processes of the node together may open {max(left.value, 0)} more files (fs.file-max)"
    seen = Evidence(left.source, f"{left.value} left")
    if left.value <= 0:
        return Outcome.fail("FileTableFull", f"{message}, which binds a Pod's own root and not that of the node", seen)
    return Outcome.warn(f"{message}; then only root of the node opens further ones", seen)


def check_pipes(facts: Facts, handler: str) -> Outcome:
    """Only CAP_SYS_RESOURCE or CAP_SYS_ADMIN of the node exempts: a Pod's own root has neither.

    *Source*: fs/pipe.c, alloc_pipe_info.
    """
    around = surroundings_of(facts)
    if around.value is None:
        return Outcome.not_read("how many pipes a Pod may have", around)
    hard, soft = around.value.pipes.hard, around.value.pipes.soft
    if hard.kind == "absent":
        return Outcome.skipped("this node does not tell how many pipes a UID may have", hard)
    if hard.value is None:
        return Outcome.not_read("how many pipes a Pod may have", hard)
    first = 2 if 0 < (soft.value or 0) < _PIPE_PAGES else _PIPE_PAGES
    if not 0 < hard.value < _FEW_PIPE_PAGES:
        return Outcome.passed("no limit of pipes is near", hard)
    message = (
        f"the pipes of one UID may have {hard.value} pages (fs.pipe-user-pages-hard), and {first} are in the first"
    )
    if hard.value >= first:
        return Outcome.warn(f"{message}: programs of Pods may fail to make a pipe", hard, soft)
    if oci_runtime_of(facts, handler) == "runc":
        return Outcome.fail("PipeLimitTooSmall", f"{message}, so none can be made, not even by runc", hard, soft)
    doubt = f"{message}; whether a Pod runs without a pipe is unknown"
    return replace(Outcome.unknown("not-tried", doubt, hard, soft), decides=True)


def check_processes(facts: Facts, handler: str) -> Outcome:
    """RLIMIT_NPROC binds every UID but the node's root, so Pods with a user namespace only."""
    around, daemon = surroundings_of(facts), daemon_of(facts)
    if daemon.value is None:
        return Outcome.not_read("how many processes the runtime may start", daemon)
    left = daemon.value.pids_left
    if left.value is not None and left.value < _TOO_FEW_PIDS:
        message = f"pids.max leaves {max(left.value, 0)} threads to the runtime's cgroup, too few for one shim"
        return Outcome.fail("ProcessLimitTooSmall", message, left)
    few = _TOO_FEW_IN_PODS.get(oci_runtime_of(facts, handler), 0)
    pods = around.value.pods_left if around.value else left
    if pods.value is not None and pods.value < few:
        message = f"pids.max leaves {max(pods.value, 0)} threads to the cgroup of all Pods, too few to start a Pod"
        full = Outcome.fail("ProcessLimitTooSmall", message, pods, remediation=_END_SOME)
        return replace(full, stands=True)  # a trial has its own cgroup
    if scarce := _pod_pids_limit(facts, few):
        return scarce
    limit = limit_of(facts, "RLIMIT_NPROC")
    if limit.value is None:
        return Outcome.not_read("how many processes the runtime may start", limit)
    soft, seen = limit.value.soft, told("Max processes", limit.value, limit.source)
    if 0 <= soft <= _TOO_FEW_PROCESSES.get(oci_runtime_of(facts, handler), 0):
        message = f"the runtime gives each UID of a Pod RLIMIT_NPROC {soft}, too few processes to start a Pod"
        return Outcome.fail("ProcessLimitTooSmall", message, seen)
    if 0 <= soft < _FEW_PROCESSES:
        message = (
            f"the runtime gives each UID of a Pod RLIMIT_NPROC {soft}; the node's root, and so Pods without a user "
            "namespace, are exempt"
        )
        return Outcome.warn(message, seen)
    if left.value is not None and left.value < _FEW_PIDS:
        return Outcome.warn(f"pids.max leaves only {left.value} threads to the runtime's cgroup", left, seen)
    if left.value is None and left.kind != "absent":
        return Outcome.not_read("how many processes the runtime's cgroup may get", left, seen)
    return Outcome.passed("the limits on processes are high enough", seen)


def _pod_pids_limit(facts: Facts, few: int) -> Outcome | None:
    """Outcome of a podPidsLimit below *few* processes, which binds no Pod of a trial; None for any other."""
    own = facts.kubelet.value.pod_pids_limit if facts.kubelet.value else None
    if not own or not 0 < (own.value or 0) < few:
        return None
    message = f"podPidsLimit of the kubelet is {own.value}, too few processes to start a Pod"
    remediation = f"Raise podPidsLimit in the kubelet's configuration, or remove it, then:\n{restart_kubelet(facts)}"
    if stale := may_be_stale(facts, own):
        doubt = f"{message}; unknown whether that is in force: {stale} changed since the kubelet started"
        unsure = Outcome.unknown("not-readable", doubt, own, remediation=remediation)
        return replace(unsure, decides=True, stands=True)
    return replace(Outcome.fail("ProcessLimitTooSmall", message, own, remediation=remediation), stands=True)


def check_oom_score(facts: Facts) -> Outcome:
    """Fail when containerd lacks CAP_SYS_RESOURCE, which it needs to lower oom_score_adj of each sandbox."""
    around, daemon = surroundings_of(facts), daemon_of(facts)
    what = "whether the runtime may lower oom_score_adj"
    if around.value is None or daemon.value is None:
        return Outcome.not_read(what, around if around.value is None else daemon)
    if not is_containerd(facts):
        return of_containerd_alone(facts, what, "only containerd sets oom_score_adj of sandboxes")
    capabilities, score = daemon.value.effective_capabilities, daemon.value.oom_score_adj
    restricts = around.value.restricts_oom_score
    if capabilities.value is None:
        return Outcome.not_read(what, capabilities)
    held = Evidence(capabilities.source, f"CapEff {capabilities.value:016x}")
    if capabilities.value >> SYS_RESOURCE & 1:
        return Outcome.passed("containerd may lower oom_score_adj", held)
    for reading in (restricts, score):
        if reading.value is None:
            return Outcome.not_read(what, reading, held)
    if restricts.value:
        return Outcome.passed("containerd asks for no oom_score_adj below its own", held, restricts)
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
            **{row.reason: judge_soft_limit(facts, row) for row in SOFT_LIMITS},
            "FileTableFull": check_file_table(facts),
            "PipeLimitTooSmall": check_pipes(facts, handler),
            "MemoryLimitTooSmall": check_memory(facts),
            "OomScoreRefused": check_oom_score(facts),
        }
    )


CHECKS = (
    Check(
        id="runtime-limits",
        level="stateless",
        gating=False,
        question="Do quotas and limits leave Pods the keyrings and processes they need?",
        why="RLIMIT_NPROC of the runtime, the quota of keyrings and fs.file-max bind each UID but the node's root: low "
        "ones stop Pods with a user namespace, and no others. pids.max of its cgroup, too few open files, or an "
        "oom_score_adj that it may not lower without CAP_SYS_RESOURCE, stop every Pod, and so does a small "
        "RLIMIT_FSIZE, RLIMIT_STACK, RLIMIT_AS or RLIMIT_DATA.",
        reasons=(
            "KeyringQuotaTooSmall",
            "ProcessLimitTooSmall",
            "OpenFilesLimitTooSmall",
            "FileTableFull",
            "PipeLimitTooSmall",
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
