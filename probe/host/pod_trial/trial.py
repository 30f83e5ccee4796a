"""Pods tried out: the node's own runtime makes each by CRI, which is looked at from outside and removed.

They have a fixed name and label: what SIGKILL leaves of a trial is removed when the next one begins. One trial at a
time runs on a node.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

import msgspec

from probe.host import syscalls
from probe.host.child import Child, ChildError
from probe.host.oci_trial.cgroup import end_cgroup, remove_cgroups, sole_trial
from probe.host.pod_trial import SOURCE
from probe.host.pod_trial.plan import POD_CGROUP, POD_SLICE, PodAnswer, PodPlan
from probe.reading import ProblemKind, Reading

TIMEOUT = 8.0
"""Seconds that one call may take; without a network plugin that waits for others it takes a fifth of one."""
TIDY_UP = 3.0
"""Seconds for removing what was made."""

_ANSWER_LIMIT = 8 << 20
_PATIENCE = 4.0  # seconds for the trial of another probe, which takes a third of one where the Pod runs


def load() -> None:
    """Import what the trial needs: to be called before the node is entered, whose files are others."""
    from probe.host.pod_trial import steps  # noqa: F401


def try_pods(plan: PodPlan, enter: Callable[[], object], deadline: float, slowness: float = 1.0) -> Reading[PodAnswer]:
    """Result of *plan* by *deadline* (time.monotonic()), tried by a child.

    *enter* moves the child into the mount namespace in which containers are made, or hands back a Reading with a
    problem, or raises OSError.
    """
    last_call = deadline - 2 * TIDY_UP * slowness  # one for removing what was made, one for the runtime to be late
    if time.monotonic() > last_call:
        return Reading.without(SOURCE, "not-tried", "too little time was left for it")
    timeout = TIMEOUT * slowness
    answer = PodAnswer()
    problem, kind = "its process ended without an answer", "not-readable"
    try:
        with Child(lambda write: _life(plan, enter, write, last_call, deadline, timeout)) as child:
            for line in child.lines(math.inf, _ANSWER_LIMIT, deadline):
                answer = msgspec.json.decode(line, type=PodAnswer)
    except TimeoutError:
        problem, kind = "no answer in time", "timed-out"
    except OSError as error:
        return Reading.from_error(SOURCE, error)
    except (ChildError, msgspec.DecodeError) as error:
        problem = f"its process failed: {error}"
    if not answer.done and answer.obstacle is None:
        obstacle: Reading[bool] = Reading.without(SOURCE, _kind(kind), problem)
        answer = msgspec.structs.replace(answer, obstacle=obstacle)
    return Reading(SOURCE, answer)


def _kind(kind: str) -> ProblemKind:
    return "timed-out" if kind == "timed-out" else "not-readable"


def _life(
    plan: PodPlan,
    enter: Callable[[], object],
    write: Callable[[bytes], None],
    last_call: float,
    deadline: float,
    timeout: float,
) -> None:
    """Main function of the child: it sends all that it knows after each Pod.

    It outlives a parent that is killed by what it takes to end its call and remove its Pod: a runtime whose caller
    vanishes cancels what it does, and may leave processes. Nobody then reads what it tells, and it ends.
    """
    from probe.host.pod_trial.steps import Trial

    def tell(answer: PodAnswer) -> None:
        write(msgspec.json.encode(answer) + b"\n")

    os.setsid()  # or what ends the probe's process group would end this one, too
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)
    step = "entering the node"
    try:
        entered = enter()
        if isinstance(entered, Reading) and entered.kind:
            return tell(PodAnswer(obstacle=entered, done=True))
        step = "lock of the trial"
        until = min(time.monotonic() + _PATIENCE, last_call)
        with sole_trial(os.path.dirname(plan.endpoint), until) as alone:
            if not alone:
                other: Reading[bool] = Reading.without(SOURCE, "not-tried", "another trial runs on this node")
                return tell(PodAnswer(obstacle=other, done=True))
            step = SOURCE
            try:
                Trial(plan, tell, last_call, deadline - TIDY_UP / 2, timeout).run()
            finally:
                for name in (POD_CGROUP, POD_SLICE):  # the Pods are gone; these are left of one that was cut off
                    end_cgroup(name)
                remove_cgroups(min(TIDY_UP, max(deadline - time.monotonic(), 0)), POD_CGROUP)
    except BrokenPipeError:
        raise
    except OSError as error:
        tell(PodAnswer(obstacle=Reading.from_error(step, error), done=True))
