"""SIGKILL of a probe at any instant, on nodes made for it: nothing of it stays, and the next one is clean."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from lab.faults.campaign import Progress, Row, times
from lab.faults.stage import CHECKOUT
from lab.real.kernel import die_with_parent

WORKERS = 2
"""Nodes on which probes are killed side by side."""

KILLED = (
    ("SIGKILL of a probe, or any of its processes, at any instant", "probe", 10_000),
    ("SIGKILL during the trial of nested containers", "nested", 2_000),
    ("SIGKILL during a trial of the runtime; then the next probe", "trial", 500),
    ("SIGKILL during a trial of a Pod; then the next probe with one", "pod", 1_000),
    ("SIGKILL of `watch` at any instant", "watch", 500),
)


def campaign(seed: int, scale: float, progress: Progress) -> Iterator[Row]:
    """A row for each thing that is killed."""
    for name, kind, whole in KILLED:
        yield killed(name, kind, seed, times(whole, scale), progress)


def killed(name: str, kind: str, seed: int, count: int, progress: Progress) -> Row:
    """What was left of so many that were killed, by several processes at once."""
    # Pods of trials share one cgroup of the machine, which each trial sweeps. A second node takes as long as ten kills.
    at_once = 1 if kind == "pod" or count <= 10 else WORKERS
    shares = [count // at_once + (number < count % at_once) for number in range(at_once)]
    workers = [_start(kind, f"{seed}.{number}", share) for number, share in enumerate(shares) if share]
    done: list[dict[str, Any]] = []
    try:
        for line in _lines(workers):
            done.append(json.loads(line))
            progress(f"{name}: {len(done)} of {count}")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    problems = [problem for one in done for problem in one["problems"]]
    if len(done) < count:
        problems.append(f"seed {seed}: only {len(done)} of {count} were killed, then it ended: see stderr")
    # The last line of each worker says how many shims are there in the end.
    if shims := sum({one["worker"]: one["shims"] for one in done}.values()):
        name += f" ({shims} times containerd lost a shim)"
    survived = sum(not one["problems"] for one in done)
    worst = max((one["worst"] for one in done), default=0.0)
    return Row(name, count, survived, worst, sum(one["leftovers"] for one in done), tuple(problems))


def _start(kind: str, seed: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lab.faults.killing", kind, seed, str(count)]
    return subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=die_with_parent
    )


def _lines(workers: list[subprocess.Popen[bytes]]) -> Iterator[bytes]:
    """What they print, a line when it comes."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
        while selector.get_map():
            for key, _ in selector.select():
                if line := key.fileobj.readline():  # type: ignore[union-attr]
                    yield line
                else:
                    selector.unregister(key.fileobj)
