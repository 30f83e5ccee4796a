"""A fault that this machine's own kernel is not asked for: the server of an NFS hard mount is gone, in a guest.

A Pod has the mount as its volume, that of another Pod lies behind it, and somebody waits in it as the kubelet does.
`dead_nfs` boots the guest and judges; run as a program this is what observes inside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from lab.faults.campaign import Progress, Row
from lab.kernels import image, machine, packages, wide
from lab.kernels.inside import BUDGET, DISK, PODS, Job, probe, running_node, tell
from lab.kernels.wide_servers import nfs_mount, nfs_server
from lab.real import kernel

FAULT = "NFS server of a hard mount gone, in an emulated guest"
SERIES = "6.12"  # where a node with these file systems is ready
MODULES = ("ext4", "overlay", "nfsd", "nfs", "nfsv4")
VOLUME = f"{PODS}/01234567-89ab-cdef-0123-456789abcdef/volumes/kubernetes.io~nfs/pv"
ABOVE = f"{PODS}/11234567-89ab-cdef-0123-456789abcdef/volumes/kubernetes.io~empty-dir"
BEHIND = f"{ABOVE}/d"
"""A tmpfs as a volume, on a directory that the server has: nobody reaches it without."""

ALLOWED = {
    VOLUME: ("unknown", "refused"),  # the kernel answers for a mount's root without asking the server
    BEHIND: ("unknown",),
    "filesystem-volumes": ("fail", "unknown"),
}
"""What may be said while the server is gone; all else is as before."""


def dead_nfs(times: int, progress: Progress = lambda words: None) -> Row:
    """Take the server away *times* times, probe, bring it back, probe again. Takes a minute, and a quarter for each.

    *Errors*: debian.Unavailable where something cannot be had; machine.GuestError.
    """
    progress(f"booting Linux {SERIES} for NFS")
    booted = packages.kernel(SERIES)
    with wide.node_disk() as node:
        outcome = machine.boot(
            booted,
            [*image.images(), wide.daemons(["nfs-kernel-server"])],
            wide.inside(Job(image.runtimes(), ()), str(times), module="lab.kernels.dead_nfs"),
            modules=MODULES,
            disks={DISK: node},
            memory=wide.MEMORY,
            timeout=600 + 180 * times,
        )
    if outcome.code:
        raise machine.GuestError(f"Linux {booted}: exit code {outcome.code}\n{outcome.console[-machine.TAIL :]}")
    before, *rounds = outcome.documents
    problems = [[f"round {i + 1}: {each}" for each in judge(before, r)] for i, r in enumerate(rounds)]
    return Row(
        FAULT,
        injected=times,
        survived=problems.count([]),
        worst=max(each["gone"]["seconds"] for each in rounds),
        leftovers=sum(len(each["stuck"]) for each in rounds),
        problems=tuple(line for lines in problems for line in lines),
    )


def judge(before: dict[str, Any], observed: dict[str, Any]) -> Iterator[str]:
    """What did not hold in one round."""
    healthy, gone, back = _said(before["report"]), _said(observed["gone"]["report"]), _said(observed["back"]["report"])
    if healthy["verdict"] != "ready":
        yield f"the node is {healthy['verdict']} before the fault"
    yield from (f"{subject} is not judged before the fault" for subject in ALLOWED.keys() - healthy.keys())
    for subject, was in healthy.items():
        allowed = ALLOWED.get(subject, (was,))
        if gone.get(subject) not in allowed:
            yield f"{subject} is {gone.get(subject)} without the server, not {' or '.join(allowed)}"
        if back.get(subject) != was:
            yield f"{subject} is {back.get(subject)} when the server is back, not {was}"
    yield from (f"process left: {each}" for each in observed["stuck"])


def _said(report: dict[str, Any]) -> dict[str, str]:
    """Verdict, check or path -> what is said of it."""
    said = {finding["id"]: finding["status"] for finding in report["findings"]}
    said |= {row["path"] or row["role"]: row["result"] for row in report["filesystems"]}
    return said | {"verdict": report["verdict"]}


def main() -> None:
    """In the guest: one line before any fault, then one for each round."""
    job, times = Job.decode(sys.argv[1]), int(sys.argv[2])
    kernel.mount(f"/dev/disk/{DISK}", "/var", "ext4")
    with running_node(job), nfs_server() as threads:
        os.makedirs(VOLUME)
        os.makedirs(ABOVE)
        with nfs_mount(VOLUME, ",actimeo=1"), nfs_mount(ABOVE, ",actimeo=1"):
            os.mkdir(BEHIND)
            kernel.mount("behind", BEHIND, "tmpfs")
            tell(report=_report()["report"])
            for _ in range(times):
                tell(**_round(threads))
            kernel.detach(BEHIND)


def _round(threads: Callable[[int], None]) -> dict[str, Any]:
    threads(0)
    time.sleep(2)  # what the kernel knows of a file without asking is older than a second then
    waiter = subprocess.Popen(["stat", "-f", VOLUME], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _until(lambda: waiter.pid in _uninterruptible())
    before = _uninterruptible()
    gone = _report()
    stuck = [f"{name} ({pid})" for pid, name in _uninterruptible().items() if pid not in before]
    threads(1)
    waiter.wait()
    return {"gone": gone, "stuck": stuck, "back": _report()}


def _report() -> dict[str, Any]:
    began = time.monotonic()
    done = probe((), "report", "-o", "json", "--volume-paths", "--budget", BUDGET)
    if done.stderr:
        raise OSError(f"exit code {done.returncode}: {done.stderr}")
    return {"report": json.loads(done.stdout), "seconds": time.monotonic() - began}


def _uninterruptible() -> dict[int, str]:
    """Processes in state D, and whatever is left of the probe's helpers, with their names."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{pid}/stat") as file:
            name, _, state = file.read().partition(" (")[2].rpartition(") ")
            if state.startswith("D") or name.startswith("up "):
                found[int(pid)] = name
    return found


def _until(condition: Callable[[], object], timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
