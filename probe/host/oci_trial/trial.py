"""Trial of the node's OCI runtime: it creates a container, which is inspected from outside and deleted.

The container is never started, so only the runtime's init runs in it, waiting. The runtime is the one program of the
node that the probe runs as root with all capabilities, as the node does for each container; a fault in it could harm
the node, so the trial runs on request only. The trial has its own mount and PID namespaces: process 1 there dies with
its parent, and the kernel then kills the rest. SIGKILL can leave an empty cgroup, which `sweep_trial_cgroups` of the
next probe removes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from probe.host import syscalls
from probe.host.child import Child, ChildError
from probe.host.oci_trial import SOURCE
from probe.host.oci_trial.cgroup import remove_cgroups, sole_trial, sweep_trial_cgroups
from probe.host.oci_trial.steps import TIDY_UP, Bind, Command, Trial, TrialAnswer, TrialPlan
from probe.reading import Reading

__all__ = ("SOURCE", "Bind", "Command", "TrialAnswer", "TrialPlan", "sweep_trial_cgroups", "try_runtime")

COMMAND_TIMEOUT = 4.0
"""Seconds for one command of the runtime, which normally takes 0.05."""

_ANSWER_LIMIT = 1 << 18
_INITIAL_CGROUP_NAMESPACE = "cgroup:[4026531835]"  # PROC_CGROUP_INIT_INO of the kernel


def try_runtime(
    plan: TrialPlan, enter: Callable[[], object], deadline: float, slowness: float = 1.0
) -> Reading[TrialAnswer]:
    """Result of the trial by *deadline* (time.monotonic()), run in a child.

    *enter* moves the child into the mount namespace in which the runtime creates containers, or returns a Reading
    with a problem, or raises OSError.
    """
    timeout = COMMAND_TIMEOUT * slowness
    last_line = deadline - timeout - 2 * TIDY_UP
    if time.monotonic() > last_line:
        return Reading.without(SOURCE, "not-tried", "too little time was left for it")
    with Child(lambda write: write(_trial_child(plan, enter, last_line, timeout))) as child:
        try:
            return Reading(SOURCE, msgspec.json.decode(child.read(deadline, _ANSWER_LIMIT), type=TrialAnswer))
        except TimeoutError:
            return Reading.without(SOURCE, "timed-out", "no answer in time")
        except (ChildError, msgspec.DecodeError) as error:
            return Reading.without(SOURCE, "not-readable", f"its process ended without an answer: {error}")


def _trial_child(plan: TrialPlan, enter: Callable[[], object], last_line: float, timeout: float) -> bytes:
    """Enter the node and run the trial; the caller becomes the parent of process 1 of the trial."""
    step = "entering the node"
    try:
        entered = enter()
        if isinstance(entered, Reading) and entered.kind:
            return msgspec.json.encode(TrialAnswer(obstacle=entered))
        step = "/proc/1/ns/cgroup"
        _join_cgroup_namespace()
        step = "cgroup of the trial"
        with sole_trial() as alone:
            if not alone:
                return _hindered("not-tried", "another trial runs on this node")
            if not remove_cgroups(0.0):
                return _hindered("not-tried", "a cgroup of that name is in use")
            step = "PID namespace"
            syscalls.unshare(syscalls.CLONE_NEWPID)
            answer = _watch(plan, last_line, timeout)
            remove_cgroups(TIDY_UP)
            return msgspec.json.encode(answer)
    except OSError as error:
        return msgspec.json.encode(TrialAnswer(obstacle=Reading.from_error(step, error)))


def _hindered(kind: Literal["not-tried"], problem: str) -> bytes:
    return msgspec.json.encode(TrialAnswer(obstacle=Reading.without(SOURCE, kind, problem)))


def _join_cgroup_namespace() -> None:
    """Join the cgroup namespace of the node: in that of a container, cgroup paths are relative to the container."""
    own = os.readlink("/proc/self/ns/cgroup")
    try:
        if os.readlink("/proc/1/ns/cgroup") == own:
            return
    except PermissionError:
        if own == _INITIAL_CGROUP_NAMESPACE:
            return
        raise
    namespace = os.open("/proc/1/ns/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(namespace, syscalls.CLONE_NEWCGROUP)
    os.close(namespace)


def _watch(plan: TrialPlan, last_line: float, timeout: float) -> TrialAnswer:
    """Last answer that process 1 of the trial wrote before it ended or was killed."""
    answer, cut_short = TrialAnswer(), ""
    try:
        with Child(lambda write: Trial(write).run(plan)) as first:
            for line in first.lines(timeout, limit=8 << 20):
                answer = msgspec.json.decode(line, type=TrialAnswer)
                if answer.under_way and time.monotonic() > last_line:
                    raise TimeoutError
    except TimeoutError:
        cut_short = "timed-out"
    except (ChildError, msgspec.DecodeError):
        cut_short = "not-readable"
    if answer.under_way and not answer.obstacle:
        return msgspec.structs.replace(answer, cut_short=cut_short or "not-readable")
    return answer
