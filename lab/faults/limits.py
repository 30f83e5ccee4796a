"""What has run out: descriptors, memory, processes, namespaces, space."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lab.faults.cgroups import counted, limited, no_cgroup
from lab.faults.stage import CHECKOUT, BrokenError, Fault, Stage, demand
from lab.real import kernel
from lab.real.filesystems import CATALOG
from lab.real.node import Probed, environment

MiB = 1 << 20
_CAUSES = (
    *(
        "Too many open files",
        "Cannot allocate memory",
        "Resource temporarily unavailable",
        "MemoryError",
        "exit status",
    ),
    *("ended without an answer", "memory, processes or files", "no answer in time", "did not start"),
    *("No space left on device", "UNAVAILABLE", "signal 9", "not understood", "no process can be listed"),
)
"""Words by which a report may name that something had run out."""


def few_descriptors(stage: Stage, chance: random.Random) -> None:
    """RLIMIT_NOFILE, from what the interpreter itself needs to what is enough."""
    stage.hits += _starved(stage, ("prlimit", f"--nofile={chance.randint(5, 40)}"))


def little_address_space(stage: Stage, chance: random.Random) -> None:
    """RLIMIT_AS: allocations fail, in C libraries too, and so do imports."""
    stage.hits += _starved(stage, ("prlimit", f"--as={chance.randint(24, 400) * MiB}"))


def little_memory(stage: Stage, chance: random.Random) -> None:
    """A memory cgroup: the kernel's OOM killer takes one process of the tree, or one after another."""
    limit = chance.randint(8, 72) * MiB
    with limited(stage, "memory", "memory.limit_in_bytes", "memory.max", limit) as (wrapper, path):
        _starved(stage, wrapper)
        stage.hits += counted(path, ("memory.events", "memory.oom_control"), "oom_kill") > 0


def few_processes(stage: Stage, chance: random.Random) -> None:
    """A pids cgroup: fork(2) and the threads of libraries are refused."""
    with limited(stage, "pids", "pids.max", "pids.max", chance.randint(1, 14)) as (wrapper, path):
        _starved(stage, wrapper)
        stage.hits += counted(path, ("pids.events",), "max") > 0


def few_namespaces(stage: Stage, chance: random.Random) -> None:
    """A limit of namespaces that is reached, in a user namespace of the probe's own: the node's stays as it is."""
    kind = chance.choice(("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"))
    limit = chance.randint(0, 1)
    script = f'echo {limit} > /proc/sys/user/max_{kind}_namespaces && exec "$0" "$@"'
    probed = stage.probe(wrapper=("unshare", "--user", "--map-root-user", "--", "sh", "-c", script))
    demand(not probed.stderr, f"said {probed.stderr[-300:]!r} on stderr")
    # Whoever lives in a user namespace knows nothing of the node, and is told so.
    demand((probed.code, probed.report["verdict"]) == (2, "unknown"), f"{probed.verdict} in a user namespace")
    demand("user namespace" in probed.stdout, f"does not say where it is: {probed.report['message']}")


def full_disk_for_the_report(stage: Stage, chance: random.Random) -> None:
    """stdout is a file on a full file system, or one that may not grow: half a report is no verdict."""
    directory = stage.node.path("full")
    os.mkdir(directory)
    with tmpfs(directory, "size=8k"):
        if chance.random() < 0.5:
            fill(f"{directory}/others")
            command = stage.node.inside(sys.executable, "-m", "probe", "-o", chance.choice(("json", "text", "prom")))
        else:
            limit = f"--fsize={chance.randint(0, 4000)}"
            command = stage.node.inside("prlimit", limit, sys.executable, "-m", "probe", "-o", "json")
        with open(f"{directory}/report", "w") as report:
            done = subprocess.run(
                command, cwd=CHECKOUT, env=environment(), stdout=report, stderr=subprocess.PIPE, text=True, check=False
            )
    os.rmdir(directory)
    demand(done.returncode == 70, f"exit code {done.returncode} although the report could not be written")
    demand(done.stderr.startswith("userns-probe: cannot write to stdout: "), f"said {done.stderr[-300:]!r}")
    demand(done.stderr.count("\n") == 1, f"said more than one line: {done.stderr[-300:]!r}")


def full_or_read_only_kubelet(stage: Stage, chance: random.Random) -> None:
    """The kubelet's root directory on an ext4 that is full, or read-only: Pods cannot do there what they could."""
    with ext4(stage) as root:
        os.mkdir(f"{root}/pods")
        fill(f"{root}/others")
        usable = chance.choice(("yes", "read-only"))
        if usable == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", root], check=True)
        with stage.other_kubelet(root=root, pods=False):
            probed = stage.probe()
        right = {"runtime-directories": {"warn", "fail"}}
        stage.expect(probed, "ready", "not-ready", unknown=(), right=right, moved={"kubelet-root"})
        row = probed.rows("kubelet-root")[0]
        told = (row["fstype"], row["result"], row["usable"])
        demand(told == ("ext4", "supported", usable), f"the kubelet's root is {usable}: {row}")


def _starved(stage: Stage, wrapper: tuple[str, ...]) -> bool:
    """Ready is allowed where it was enough; else a reason, or no report at all and an exit code of its own.

    Whether something was missed is returned.
    """
    try:
        probed = stage.probe(wrapper=wrapper)
        if _gave_up(probed):
            return True
        stage.expect(probed, "ready", "unknown", cause=_CAUSES)
        return bool(stage.well.lost(probed.report))
    except BrokenError as problem:
        raise BrokenError(f"{' '.join(wrapper)}: {problem}") from None


def _gave_up(probed: Probed) -> bool:
    """Whether the command itself was killed, or could not even start and said so in one line."""
    if probed.stdout:
        return False
    one_line = probed.stderr.startswith("userns-probe: ") and probed.stderr.count("\n") == 1
    return (probed.code == 70 and one_line) or (probed.code in (137, -9) and not probed.stderr)


@contextmanager
def tmpfs(directory: str, options: str) -> Iterator[None]:
    kernel.mount("fault", directory, "tmpfs", 0, options)
    try:
        yield
    finally:
        kernel.detach(directory)


@contextmanager
def ext4(stage: Stage, size: int = 16 * MiB) -> Iterator[str]:
    """A directory of the node on an ext4 of its own."""
    image, directory = stage.node.path("image"), stage.node.path("disk")
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    os.mkdir(directory)
    subprocess.run(["mount", "-o", "loop", image, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
        os.rmdir(directory)
        os.unlink(image)


def fill(path: str) -> None:
    """Write to a new file until there is no space left."""
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


FAULTS = (
    Fault("RLIMIT_NOFILE reached (EMFILE)", 100, few_descriptors, aim="something ran out"),
    Fault("RLIMIT_AS reached (ENOMEM)", 100, little_address_space, aim="something ran out"),
    Fault("memory cgroup full: OOM killer", 100, little_memory, no_cgroup("memory"), "the OOM killer fired"),
    Fault("pids cgroup full (EAGAIN)", 100, few_processes, no_cgroup("pids"), "a fork was refused"),
    Fault("limit of namespaces reached, in a user namespace", 100, few_namespaces),
    Fault("no space for the report (ENOSPC, EFBIG)", 100, full_disk_for_the_report),
    Fault(
        "kubelet's root directory on a full or read-only disk", 50, full_or_read_only_kubelet, CATALOG["ext4"].missing
    ),
)
