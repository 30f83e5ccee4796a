"""Limits of namespaces of a whole machine: one that is merely reached is not 0, and passes as Pods come and go."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab.faults import parts
from lab.faults.honesty import statuses
from lab.faults.kills import kill
from lab.faults.stage import Stage, demand
from lab.real.node import descendants

KINDS = {
    "user": "--user",
    "mnt": "--mount",
    "pid": "--pid",
    "net": "--net",
    "ipc": "--ipc",
    "uts": "--uts",
    "cgroup": "--cgroup",
}
"""As /proc/sys/user spells each, and as unshare(1) makes one."""
HELD = 3
_NEEDED = parts.ATTEMPTS | parts.SANDBOX | parts.RUNTIME | parts.PROGRAMS
"""What is tried in namespaces of the probe's own, and what a slow machine leaves unanswered."""


def limit_is_reached(stage: Stage, chance: random.Random) -> None:
    """There are as many as there may be, or there may be none; of user namespaces at first, and every second time."""
    other = chance.choice([kind for kind in KINDS if kind != "user"])
    kind = "user" if stage.number % 2 == 0 else other
    limit = 0 if stage.number % 4 >= 2 else chance.randint(1, HELD)
    with held(KINDS[kind]), limited(kind, limit):
        probed = stage.probe()
    said = statuses(probed.report)
    stops = {"fail", "warn"} if kind == "cgroup" else {"fail"}  # cgroup namespaces are needed with cgroup v2 only
    right: dict[str, set[str]] = {}
    if not limit:
        switched_off = {"kernel-user-namespaces": {"fail"}, "runtime-kernel-claim": {"warn"}}
        right = {"sandbox-trial": stops} | (switched_off if kind == "user" else {"kernel-namespace-limits": stops})
    verdicts = ["ready", "unknown"] if kind != "user" else ["unknown"]
    if not limit:
        verdicts = ["not-ready", "ready", "unknown"] if kind == "cgroup" else ["not-ready"]
    stage.expect(probed, *verdicts, unknown=_NEEDED, cause=_CAUSES, right=right)
    # Programs of a slow machine may be late as well: so the check that asks is looked at, too.
    asked = probed.finding("kernel-user-namespaces" if kind == "user" else "sandbox-trial")
    demand(asked["status"] != "pass", f"{asked['id']} passed with max_{kind}_namespaces {limit}")
    demand(f"max_{kind}_namespaces" in str(asked), f"max_{kind}_namespaces is {limit}, and {asked['message']}")
    if not limit and kind != "user":
        demand(said["kernel-namespace-limits"] in stops, f"max_{kind}_namespaces is 0: {said}")


_CAUSES = ("_namespaces", "no user namespace could be made", "No space left on device", "ENOSPC", "in time")


@contextmanager
def held(flag: str) -> Iterator[None]:
    """Some namespaces of that kind, root's own, as those of Pods are."""
    command = ["unshare", flag, "--fork", "sh", "-c", "echo; exec sleep infinity"]
    holders = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(HELD)]
    try:
        for holder in holders:
            assert holder.stdout
            demand(holder.stdout.readline(), f"no namespace could be made with {flag}")
        yield
    finally:
        for holder in holders:
            for pid in reversed(descendants(holder.pid)):
                kill(pid)
            holder.wait()
            assert holder.stdout
            holder.stdout.close()


@contextmanager
def limited(kind: str, limit: int) -> Iterator[None]:
    """There may be no more than so many, on the whole machine."""
    path = f"/proc/sys/user/max_{kind}_namespaces"
    with open(path) as file:
        before = file.read()
    try:
        _write(path, str(limit))
        yield
    finally:
        _write(path, before)


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:
        file.write(value)
